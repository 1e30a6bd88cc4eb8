// A server of callkit.v1 in memory, for tests: sessions with numbered events, resume, restart, and cut connections.
// It has no opinion on calls; the test answers the requests.

import { SUBPROTOCOL } from '../protocol.js';

const LIMITS = { max_frame: 65_536, ping_interval_ms: 5000, silence_timeout_ms: 15_000, resume_window_ms: 60_000 };

/**
 * @typedef {{ result: string } & Record<string, unknown>} Answer
 * @typedef {{ error: string, retryable?: boolean }} Refusal
 */

export class FakeServer {
  /** What the next session starts with. @type {any} */
  snapshot = { you: { role: 'customer', id: 'cust_1' }, chat: [], queues: [] };
  /** Answers a request; `null` leaves it without an answer. @type {(request: any) => Answer | Refusal | null} */
  answer = () => ({ result: 'done' });
  /** Refuses an auth with this code. @type {(token: string) => string | null} */
  refuse = () => null;
  /** Nobody listens. */
  down = false;
  /** Takes frames and says nothing, as a dead network does. */
  mute = false;
  /** Every frame that arrived. @type {any[]} */
  received = [];
  /** How many sockets were asked for. */
  attempts = 0;
  #instance = 1;
  #session = 0;
  /** @type {{ id: string, token: string, seq: number, kept: { seq: number, event: any }[] } | null} */
  #open = null;
  /** @type {FakeSocket | null} */
  #socket = null;

  /** @param {string} _url @param {string} protocol */
  createSocket = (_url, protocol) => {
    this.attempts++;
    const socket = new FakeSocket(this, protocol);
    queueMicrotask(() => {
      if (this.down || protocol !== SUBPROTOCOL) socket.lose();
      else socket.deliver({ type: 'hello', protocol: SUBPROTOCOL, instance: `instance-${this.#instance}`, limits: LIMITS });
    });
    return socket;
  };

  /** Requests that arrived, by type. @param {string} [type] */
  requests(type) {
    return this.received.filter((frame) => frame.id !== undefined && (type === undefined || frame.type === type));
  }

  /** Something happens: numbered, kept for resume, sent if there is a connection. @param {any} event */
  push(event) {
    if (!this.#open) throw new Error('no session is open');
    const frame = { seq: ++this.#open.seq, event };
    this.#open.kept.push(frame);
    this.#socket?.deliver({ type: 'event', ...frame });
  }

  /** Sends a frame as it is. @param {any} frame */
  send(frame) {
    this.#socket?.deliver(frame);
  }

  /** The connection is lost; the session is kept. */
  drop() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.lose();
  }

  /** The process is killed and started again: sessions are forgotten. */
  restart() {
    this.#instance++;
    this.#open = null;
    this.drop();
  }

  /** Forgets the session only, as after the resume window. */
  forget() {
    this.#open = null;
  }

  /** @param {FakeSocket} socket @param {any} frame */
  take(socket, frame) {
    this.received.push(frame);
    if (this.mute) return;
    if (frame.type === 'auth') this.#auth(socket, frame);
    else if (frame.type === 'resume') this.#resume(socket, frame);
    else if (frame.type === 'ping') socket.deliver({ type: 'pong', seq: this.#open?.seq ?? 0 });
    else if (frame.id !== undefined) this.#request(socket, frame);
  }

  /** @param {FakeSocket} socket @param {any} frame */
  #auth(socket, frame) {
    const code = this.refuse(frame.token);
    if (code) {
      socket.deliver({ type: 'refused', code, message: '' });
      return;
    }
    this.#open = { id: `sess-${++this.#session}`, token: `secret-${this.#session}`, seq: 10, kept: [] };
    this.#socket = socket;
    socket.deliver({ type: 'welcome', session: this.#open.id, resume_token: this.#open.token, seq: 10, snapshot: structuredClone(this.snapshot) });
  }

  /** @param {FakeSocket} socket @param {any} frame */
  #resume(socket, frame) {
    const open = this.#open;
    if (!open || open.id !== frame.session || open.token !== frame.resume_token) {
      socket.deliver({ type: 'refused', code: 'session_unknown', message: '' });
      return;
    }
    this.#socket = socket;
    socket.deliver({ type: 'resumed', session: open.id, seq: open.seq });
    for (const kept of open.kept) if (kept.seq > frame.last_seq) socket.deliver({ type: 'event', ...kept });
  }

  /** @param {FakeSocket} socket @param {any} frame */
  #request(socket, frame) {
    const answer = this.answer(frame);
    if (answer === null) return;
    if ('error' in answer) {
      socket.deliver({ type: 'error', re: frame.id, code: answer.error, message: '', retryable: answer.retryable ?? false });
    } else {
      socket.deliver({ type: 'ok', re: frame.id, ...answer });
    }
  }
}

/** The client's end of a connection. */
class FakeSocket {
  /** @type {(() => void) | null} */
  onopen = null;
  /** @type {((event: { data: unknown }) => void) | null} */
  onmessage = null;
  /** @type {((event: { code: number }) => void) | null} */
  onclose = null;
  #server;
  #closed = false;

  /** @param {FakeServer} server @param {string} protocol */
  constructor(server, protocol) {
    this.#server = server;
    this.protocol = protocol;
  }

  /** @param {string} data */
  send(data) {
    if (this.#closed) return;
    const frame = JSON.parse(data);
    queueMicrotask(() => {
      if (!this.#closed) this.#server.take(this, frame);
    });
  }

  close() {
    this.#closed = true;
  }

  /** @param {any} frame */
  deliver(frame) {
    const data = JSON.stringify(frame);
    queueMicrotask(() => {
      if (!this.#closed) this.onmessage?.({ data });
    });
  }

  lose() {
    if (this.#closed) return;
    this.#closed = true;
    this.onclose?.({ code: 1006 });
  }
}
