// The wire messages of callkit.v1 as the browser sees them, and the guard that lets only sound frames in.
// The catalogue is callkit-signal/src/message; test/protocol.test.mjs checks this file against its fixtures.

import { CallkitError } from './errors.js';

/** The WebSocket subprotocol. */
export const SUBPROTOCOL = 'callkit.v1';
/** Longest line of chat, in characters. */
export const MAX_CHAT_CHARS = 4000;

/**
 * @typedef {'customer' | 'operator' | 'supervisor'} Role
 * @typedef {'listen' | 'whisper' | 'barge'} SuperviseMode
 * @typedef {{ role: Role, id: string, name?: string }} You
 * @typedef {'on' | 'off' | 'muted_by_system' | 'missing'} DeviceState
 * @typedef {{ microphone: boolean, camera: boolean, screen: boolean, microphone_state?: DeviceState,
 *   camera_state?: DeviceState }} MediaState
 * @typedef {{ camera: { layers: string[], max_bitrate: number }, screen: { send: boolean, max_bitrate: number } }} Demand
 *
 * @typedef {object} ParticipantView
 * @property {string} id
 * @property {Role} role
 * @property {boolean} you
 * @property {string} [name]
 * @property {number} [slot]
 * @property {'connecting' | 'up' | 'reconnecting'} link
 * @property {number} [for_ms] with `reconnecting`: how long the place is kept
 * @property {number} [lost_for_ms] with `reconnecting`: for how long already
 * @property {'left_page' | 'no_network' | 'media_only'} [cause] with `reconnecting`: what became of the person, if known
 * @property {MediaState} media
 * @property {string} [customer]
 * @property {boolean} [verified]
 * @property {SuperviseMode} [supervising] staff only
 *
 * @typedef {object} ActiveCallView a talk that can be supervised
 * @property {string} id
 * @property {string} queue
 * @property {string} agent
 * @property {string} [agent_name]
 * @property {string} customer
 * @property {string} [name]
 * @property {number} for_ms
 * @property {string} [supervisor]
 *
 * @typedef {object} CallView
 * @property {string} id
 * @property {string} queue
 * @property {number} version
 * @property {'queued' | 'connecting' | 'active' | 'ended'} phase
 * @property {number} [position] queued
 * @property {boolean} [staffed] queued
 * @property {number} [for_ms] active
 * @property {string} [reason] ended
 * @property {number} [talked_ms] ended
 * @property {ParticipantView[]} participants
 *
 * @typedef {object} OfferView
 * @property {string} id
 * @property {string} call
 * @property {string} queue
 * @property {string} customer
 * @property {string} [name]
 * @property {boolean} verified
 * @property {number} waited_ms
 * @property {number} expires_in_ms
 * @property {number} ring_ms
 *
 * @typedef {{ status: 'offline' | 'available' | 'away' | 'not_responding', reason?: string }} Presence
 * @typedef {{ kind: 'idle' | 'reserved' | 'connecting' | 'in_call' | 'wrap_up', call?: string, offer?: string }} Activity
 *
 * @typedef {object} AgentView
 * @property {string} id
 * @property {number} version
 * @property {Presence} presence
 * @property {number} presence_for_ms
 * @property {Presence} [pending_presence]
 * @property {Activity} activity
 * @property {number} activity_for_ms
 *
 * @typedef {{ id: string, name: string, waiting: number, longest_wait_ms?: number, available: number }} QueueView
 *
 * @typedef {object} ChatView
 * @property {string} id
 * @property {string} call
 * @property {number} seq
 * @property {Role} from
 * @property {boolean} mine
 * @property {string} [client_id]
 * @property {string} text
 * @property {number} at_ms
 *
 * @typedef {object} QualityView
 * @property {string} participant
 * @property {QualityLevel} level
 * @property {number} score
 * @property {QualityCause} [cause]
 * @property {number} loss_up_percent
 * @property {number} loss_down_percent
 * @property {number} [rtt_ms]
 * @property {number} jitter_ms
 * @property {number} bitrate_up
 * @property {number} bitrate_down
 * @property {PathKind} [path]
 * @property {TrackView[]} [tracks]
 *
 * @typedef {'good' | 'fair' | 'poor' | 'video_paused' | 'local_cpu' | 'no_sound'} QualityLevel
 * @typedef {'your_network' | 'their_network' | 'server' | 'this_computer' | 'their_computer'} QualityCause
 * @typedef {'direct' | 'tcp' | 'relay'} PathKind
 * @typedef {'microphone' | 'camera' | 'screen' | 'screen_audio'} TrackSource
 * @typedef {'none' | 'cpu' | 'bandwidth' | 'other'} LimitedBy
 *
 * @typedef {object} TrackView
 * @property {'up' | 'down'} direction
 * @property {TrackSource} source
 * @property {string} [from]
 * @property {number} score
 * @property {boolean} [paused]
 * @property {number} bitrate
 * @property {number} [loss_percent]
 * @property {number} [jitter_ms]
 * @property {number} [fps]
 * @property {number} [width]
 * @property {number} [height]
 * @property {string} [codec]
 * @property {LimitedBy} [limited_by]
 * @property {number} [freeze_ms_per_min]
 * @property {number} [concealed_percent]
 *
 * @typedef {object} SentTrack
 * @property {TrackSource} source
 * @property {boolean} [on]
 * @property {number | null} [bitrate]
 * @property {number | null} [fps]
 * @property {number | null} [width]
 * @property {number | null} [height]
 * @property {string | null} [codec]
 * @property {LimitedBy | null} [limited_by]
 * @property {number | null} [level]
 * @property {number | null} [still_ms]
 *
 * @typedef {object} ReceivedTrack
 * @property {number} slot
 * @property {TrackSource} source
 * @property {number | null} [bitrate]
 * @property {number | null} [loss_percent]
 * @property {number | null} [jitter_ms]
 * @property {number | null} [buffer_ms]
 * @property {number | null} [concealed_percent]
 * @property {number | null} [level]
 * @property {number | null} [fps]
 * @property {number | null} [width]
 * @property {number | null} [height]
 * @property {string | null} [codec]
 * @property {number | null} [freeze_ms]
 * @property {number | null} [dropped_percent]
 *
 * @typedef {object} MediaReport
 * @property {number} span_ms
 * @property {number | null} [rtt_ms]
 * @property {number | null} [available_up]
 * @property {PathKind | null} [path]
 * @property {SentTrack[]} sent
 * @property {ReceivedTrack[]} received
 *
 * @typedef {object} Snapshot
 * @property {You} you
 * @property {AgentView} [agent]
 * @property {OfferView} [offer]
 * @property {CallView} [call]
 * @property {CallView} [ended]
 * @property {ChatView[]} chat
 * @property {QueueView[]} queues
 * @property {ActiveCallView[]} [calls] supervisors only
 *
 * @typedef {{ max_frame: number, ping_interval_ms: number, silence_timeout_ms: number, resume_window_ms: number }} Limits
 *
 * @typedef {{ kind: 'call', call: CallView } | { kind: 'offer.new', offer: OfferView }
 *   | { kind: 'offer.closed', offer: string, outcome: string, cause?: string } | { kind: 'agent', agent: AgentView }
 *   | { kind: 'queue', queue: QueueView } | { kind: 'chat', message: ChatView }
 *   | { kind: 'calls.changed', call: ActiveCallView } | { kind: 'calls.gone', call: string }
 *   | { kind: 'quality', call: string, participants: QualityView[] }
 *   | ({ kind: 'media.demand', call: string } & Demand)} ServerEvent
 *
 * @typedef {{ type: 'hello', protocol: string, instance: string, limits: Limits }
 *   | { type: 'welcome', session: string, resume_token: string, seq: number, snapshot: Snapshot }
 *   | { type: 'resumed', session: string, seq: number } | { type: 'refused', code: string, message: string }
 *   | { type: 'pong', seq: number } | OkFrame
 *   | { type: 'error', re?: number, code: string, message: string, retryable?: boolean }
 *   | { type: 'event', seq: number, event: ServerEvent | { kind: 'unknown' } } | { type: 'closing', code: string }} ServerMessage
 *
 * @typedef {{ urls: string[], username?: string, credential?: string }} IceServer
 *
 * @typedef {{ type: 'ok', re: number, result: string, call?: CallView, sdp?: string, message?: ChatView,
 *   ice_servers?: IceServer[], expires_in_ms?: number }} OkFrame
 *
 * @typedef {{ presence: 'available' } | { presence: 'away', reason?: string } | { presence: 'offline' }} PresenceChoice
 *
 * @typedef {{ type: 'call.start', queue: string } | { type: 'call.hangup', call: string }
 *   | { type: 'offer.accept', offer: string } | { type: 'offer.decline', offer: string }
 *   | ({ type: 'presence.set' } & PresenceChoice) | { type: 'media.offer', call: string, sdp: string }
 *   | { type: 'media.restart', call: string, sdp: string } | { type: 'media.servers' }
 *   | ({ type: 'media.state', call: string } & MediaState)
 *   | { type: 'media.report', call: string, report: MediaReport }
 *   | { type: 'chat.send', call: string, client_id: string, text: string }
 *   | { type: 'supervise.join', call: string, mode: SuperviseMode } | { type: 'supervise.leave', call: string }} Request
 */

/**
 * Requests that are sent again in a new session: each of them has the same effect when it is carried out twice.
 * The others are answered with `connection_lost`; their caller decides anew from the snapshot.
 */
const REPEATABLE = new Set(['call.start', 'call.hangup', 'presence.set', 'media.servers', 'media.state', 'chat.send', 'supervise.join',
  'supervise.leave']);

/** @param {Request} request */
export function isRepeatable(request) {
  return REPEATABLE.has(request.type);
}

/**
 * Reads a frame. Frames of an unknown type give `null` (a newer server may send them), as the protocol's evolution
 * rule asks.
 *
 * @param {unknown} data
 * @returns {ServerMessage | null}
 * @throws {CallkitError} `malformed`
 */
export function decodeServerMessage(data) {
  if (typeof data !== 'string') throw malformed('a frame that is not text');
  /** @type {any} */
  let value;
  try {
    value = JSON.parse(data);
  } catch (cause) {
    throw malformed('a frame that is not JSON', cause);
  }
  if (!isObject(value) || typeof value.type !== 'string') throw malformed('a frame without a type');
  const check = MESSAGE_GUARDS[value.type];
  if (!check) return null;
  if (!check(value)) throw malformed(`a bad ${value.type} frame`);
  return /** @type {ServerMessage} */ (value);
}

/** @type {Record<string, (value: any) => boolean>} */
const MESSAGE_GUARDS = {
  hello: (m) => isText(m.protocol) && isText(m.instance) && isLimits(m.limits),
  welcome: (m) => isText(m.session) && isText(m.resume_token) && isCount(m.seq) && isSnapshot(m.snapshot),
  resumed: (m) => isText(m.session) && isCount(m.seq),
  refused: (m) => isText(m.code),
  pong: (m) => isCount(m.seq),
  ok: (m) => isCount(m.re) && isText(m.result) && optional(m.call, isCall) && optional(m.message, isChat)
    && optional(m.sdp, isText) && (m.result !== 'servers' || (isListOf(m.ice_servers, isIceServer) && isCount(m.expires_in_ms))),
  error: (m) => isText(m.code) && optional(m.re, isCount),
  event: (m) => isCount(m.seq) && isEvent(m.event),
  closing: (m) => isText(m.code),
};

/** @type {Record<string, (value: any) => boolean>} */
const EVENT_GUARDS = {
  call: (e) => isCall(e.call),
  'offer.new': (e) => isOffer(e.offer),
  'offer.closed': (e) => isText(e.offer) && isText(e.outcome),
  agent: (e) => isAgent(e.agent),
  queue: (e) => isQueue(e.queue),
  'calls.changed': (e) => isActiveCall(e.call),
  'calls.gone': (e) => isText(e.call),
  chat: (e) => isChat(e.message),
  quality: (e) => isText(e.call) && isListOf(e.participants, isQuality),
  'media.demand': (e) => isText(e.call) && isObject(e.camera) && isListOf(e.camera.layers, isText)
    && isCount(e.camera.max_bitrate) && isObject(e.screen) && typeof e.screen.send === 'boolean' && isCount(e.screen.max_bitrate),
};

/** @param {any} e */
function isEvent(e) {
  if (!isObject(e) || !isText(e.kind)) return false;
  const check = EVENT_GUARDS[e.kind];
  return check ? check(e) : true;
}

/** @param {any} s */
function isSnapshot(s) {
  return isObject(s) && isObject(s.you) && isText(s.you.role) && isText(s.you.id) && optional(s.agent, isAgent)
    && optional(s.offer, isOffer) && optional(s.call, isCall) && optional(s.ended, isCall) && isListOf(s.chat, isChat) && isListOf(s.queues, isQueue)
    && (s.calls === undefined || isListOf(s.calls, isActiveCall));
}

/** @param {any} l */
function isLimits(l) {
  return isObject(l) && isCount(l.max_frame) && isCount(l.ping_interval_ms) && isCount(l.silence_timeout_ms);
}

/** @param {any} c */
function isCall(c) {
  return isObject(c) && isText(c.id) && isText(c.queue) && isCount(c.version) && isText(c.phase)
    && isListOf(c.participants, isParticipant) && optional(c.position, isCount) && optional(c.reason, isText);
}

/** @param {any} p */
function isParticipant(p) {
  return isObject(p) && isText(p.id) && isText(p.role) && typeof p.you === 'boolean' && isText(p.link)
    && isObject(p.media) && optional(p.slot, isCount) && optional(p.name, isText);
}

/** @param {any} c */
function isActiveCall(c) {
  return isObject(c) && isText(c.id) && isText(c.queue) && isText(c.agent) && isText(c.customer) && isCount(c.for_ms)
    && optional(c.agent_name, isText) && optional(c.name, isText) && optional(c.supervisor, isText);
}

/** @param {any} o */
function isOffer(o) {
  return isObject(o) && isText(o.id) && isText(o.call) && isText(o.queue) && isText(o.customer)
    && optional(o.name, isText) && isCount(o.waited_ms) && isCount(o.expires_in_ms) && isCount(o.ring_ms);
}

/** @param {any} a */
function isAgent(a) {
  return isObject(a) && isText(a.id) && isCount(a.version) && isObject(a.presence) && isText(a.presence.status)
    && isObject(a.activity) && isText(a.activity.kind) && isCount(a.presence_for_ms) && isCount(a.activity_for_ms);
}

/** @param {any} q */
function isQueue(q) {
  return isObject(q) && isText(q.id) && isText(q.name) && isCount(q.waiting) && isCount(q.available);
}

/** @param {any} c */
function isChat(c) {
  return isObject(c) && isText(c.id) && isText(c.call) && isCount(c.seq) && isText(c.from) && isText(c.text)
    && typeof c.mine === 'boolean' && isCount(c.at_ms);
}

/** @param {any} s */
function isIceServer(s) {
  return isObject(s) && isListOf(s.urls, isText) && optional(s.username, isText) && optional(s.credential, isText);
}

/** @param {any} q */
function isQuality(q) {
  return isObject(q) && isText(q.participant) && isText(q.level) && Number.isFinite(q.loss_up_percent)
    && Number.isFinite(q.loss_down_percent) && isCount(q.bitrate_up) && isCount(q.bitrate_down)
    && optional(q.score, isCount) && optional(q.cause, isText) && optional(q.tracks, isTracks);
}

/** @param {any} tracks */
function isTracks(tracks) {
  return isListOf(tracks, (t) => isObject(t) && isText(t.direction) && isText(t.source) && isCount(t.score)
    && isCount(t.bitrate));
}

/** @param {unknown} value @returns {value is Record<string, any>} */
function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @param {unknown} value @returns {value is string} */
function isText(value) {
  return typeof value === 'string';
}

/** @param {unknown} value */
function isCount(value) {
  return Number.isSafeInteger(value) && /** @type {number} */ (value) >= 0;
}

/** @param {unknown} value @param {(value: any) => boolean} check */
function isListOf(value, check) {
  return Array.isArray(value) && value.every(check);
}

/** @param {unknown} value @param {(value: any) => boolean} check */
function optional(value, check) {
  return value === undefined || value === null || check(value);
}

/** @param {string} what @param {unknown} [cause] */
function malformed(what, cause) {
  return new CallkitError('malformed', { message: `the server sent ${what}`, cause });
}
