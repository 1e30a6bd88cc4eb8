// The HTTP API of the server: JSON in and out, problems as CallkitError.

import { CallkitError } from '../client/errors.js';

/**
 * @typedef {object} Config
 * @property {{ name: string, logo: string | null, accent: string | null, theme: string }} brand
 * @property {{ id: string, name: string }[]} queues
 * @property {string} default_queue
 * @property {string} signal
 *
 * @typedef {{ id: string, name: string, role: string }} Agent
 *
 * @typedef {object} HistoryEntry
 * @property {string} id
 * @property {string} queue
 * @property {string} customer
 * @property {string} [name]
 * @property {string} [agent]
 * @property {number} created_ms
 * @property {number} [started_ms]
 * @property {number} [ended_ms]
 * @property {string} [reason]
 *
 * @typedef {object} CallDetails
 * @property {HistoryEntry} call
 * @property {{ id: string, role: string, name?: string | null, joined_ms: number, media_ms?: number | null, left_ms?: number | null }[]} participants
 * @property {import('../client/protocol.js').ChatView[]} chat
 * @property {QualityPeriod[]} quality
 *
 * @typedef {object} QualityPeriod
 * @property {string} participant
 * @property {string} role
 * @property {number} from_ms
 * @property {number} to_ms
 * @property {string} level
 * @property {'network' | 'server' | 'computer'} [cause] seen from the participant
 * @property {number} score the lowest
 * @property {number} loss_up_percent the worst
 * @property {number} loss_down_percent the worst
 * @property {number} [rtt_ms] the worst
 */

/**
 * @param {'GET' | 'POST'} method
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<any>}
 * @throws {CallkitError} `unavailable` when the server cannot be reached, else the server's own code
 */
async function ask(method, path, body) {
  /** @type {Response} */
  let response;
  try {
    response = await fetch(path, {
      method, credentials: 'same-origin', cache: 'no-store',
      headers: { accept: 'application/json', ...(method === 'POST' ? { 'content-type': 'application/json' } : {}) },
      ...(method === 'POST' ? { body: JSON.stringify(body ?? {}) } : {}),
    });
  } catch (cause) {
    throw new CallkitError('unavailable', { cause, retryable: true });
  }
  const isJson = response.headers.get('content-type')?.includes('json') ?? false;
  const answer = isJson ? await response.json().catch(() => null) : null;
  if (response.ok) return answer;
  const retryable = response.status >= 500 || response.status === 429;
  throw new CallkitError(answer?.code ?? (response.status === 401 ? 'unauthenticated' : 'unavailable'), {
    message: answer?.message ?? `HTTP ${response.status}`, retryable,
  });
}

export const api = Object.freeze({
  /** @returns {Promise<Config>} */
  config: () => ask('GET', '/api/v1/config'),
  /** @param {string | null} name @returns {Promise<{ token: string, customer: string, expires_at_ms: number }>} */
  createVisitor: (name) => ask('POST', '/api/v1/visitors', { name }),
  /** @param {string} user @param {string} password @returns {Promise<{ agent: Agent }>} */
  signIn: (user, password) => ask('POST', '/api/v1/staff/login', { user, password }),
  /** @returns {Promise<{ agent: Agent }>} */
  me: () => ask('GET', '/api/v1/staff/me'),
  signOut: () => ask('POST', '/api/v1/staff/logout', {}),
  /** @returns {Promise<{ ticket: string, expires_in_ms: number }>} */
  ticket: () => ask('POST', '/api/v1/staff/ticket', {}),
  /** @returns {Promise<{ calls: HistoryEntry[] }>} */
  calls: () => ask('GET', '/api/v1/calls?limit=50'),
  /** @param {string} id @returns {Promise<CallDetails>} */
  call: (id) => ask('GET', `/api/v1/calls/${encodeURIComponent(id)}`),
});
