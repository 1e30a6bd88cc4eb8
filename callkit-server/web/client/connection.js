// One signaling session over as many WebSocket connections as it takes: hello, auth, resume, ping, requests.
// It knows nothing about calls.

import { Emitter } from './emitter.js';
import { CallkitError } from './errors.js';
import { SUBPROTOCOL, decodeServerMessage, isRepeatable } from './protocol.js';

/** Waits before the tries after a loss, milliseconds; the last one repeats for as long as it takes. */
const RETRY_MS = [0, 300, 1200, 2700, 4800, 7000];
/** Random share on top of a wait (not of the first), so that all pages of a restarted server do not come at once. */
const JITTER_MS = 1000;
/** A connection that lived this long was good: the waits start from the beginning, milliseconds. */
const STABLE_MS = 5000;
/** A request without an answer is given up after this time on a live connection, milliseconds. */
const REQUEST_TIMEOUT_MS = 15_000;
/** After the network changed, an answer to a ping is expected this soon, milliseconds. */
const PROBE_MS = 3000;
/** A tick that comes this late was held up here: what arrived meanwhile is still to be read, milliseconds. */
const LATE_TICK_MS = 2500;
/** Requests that may wait for an answer or for the connection. */
const MAX_PENDING = 256;
/** Received events are confirmed at least after this many. */
const ACK_EVERY = 64;
/** Used until the server's hello brings its own. */
const DEFAULT_LIMITS = { max_frame: 65_536, ping_interval_ms: 5000, silence_timeout_ms: 15_000, resume_window_ms: 60_000 };

/**
 * @typedef {'idle' | 'connecting' | 'connected' | 'reconnecting' | 'disconnected'} ConnectionState
 * @typedef {{ state: ConnectionState, reason: string | null, attempt: number, retryAt: number | null }} ConnectionInfo
 * @typedef {'connect' | 'expired' | 'rejected'} TokenReason
 * @typedef {{ state: ConnectionInfo, welcome: { snapshot: import('./protocol.js').Snapshot, restarted: boolean },
 *   resumed: null, event: import('./protocol.js').ServerEvent }} ConnectionEvents
 * @typedef {{ request: import('./protocol.js').Request, sentAt: number | null, over: import('./environment.js').SocketLike | null,
 *   resolve: (ok: import('./protocol.js').OkFrame) => void, reject: (error: CallkitError) => void }} Pending
 */

/** @extends {Emitter<ConnectionEvents>} */
export class Connection extends Emitter {
  #env;
  #url;
  #getToken;
  #clientInfo;
  /** @type {ConnectionInfo} */
  #info = { state: 'idle', reason: null, attempt: 0, retryAt: null };
  /** @type {import('./environment.js').SocketLike | null} */
  #socket = null;
  /** @type {{ id: string, resumeToken: string } | null} */
  #session = null;
  /** @type {string | null} */
  #instance = null;
  /** Instance at the time of the last welcome. @type {string | null} */
  #welcomedBy = null;
  /** @type {import('./protocol.js').Limits} */
  #limits = DEFAULT_LIMITS;
  #lastSeq = 0;
  #ackedSeq = 0;
  #nextId = 1;
  /** @type {Map<number, Pending>} */
  #pending = new Map();
  #lastHeard = 0;
  #lastTick = 0;
  /** The other side is not judged before. */
  #judgeFrom = 0;
  #lastPing = 0;
  #connectedAt = 0;
  #attempt = 0;
  #refusals = 0;
  #holdUntil = 0;
  /** @type {number | null} */
  #probeBy = null;
  /** @type {unknown} */
  #retryTimer = null;
  /** @type {TokenReason} */
  #tokenReason = 'connect';
  /** @type {(() => void)[]} */
  #stops = [];

  /**
   * @param {{ url: string, getToken: (why: { reason: TokenReason }) => Promise<string>,
   *   client: { name: string, version: string }, environment: import('./environment.js').Environment }} options
   */
  constructor(options) {
    super();
    this.#url = options.url;
    this.#getToken = options.getToken;
    this.#clientInfo = options.client;
    this.#env = options.environment;
  }

  get info() {
    return this.#info;
  }

  /** Connects and stays connected until {@link close}. Also the way back after `disconnected`. */
  open() {
    if (this.#info.state !== 'idle' && this.#info.state !== 'disconnected') return;
    this.#attempt = 0;
    this.#refusals = 0;
    this.#tokenReason = 'connect';
    this.#lastTick = this.#env.now();
    this.#stops.push(this.#env.startTicker(() => this.#tick()), this.#env.onWake(() => this.wake()));
    this.#connect('connecting');
  }

  /** Ends the session. Requests that still wait are answered with `closed`. */
  close() {
    this.#session = null;
    this.#stop('idle', null);
    this.#rejectAll(() => true, 'closed');
  }

  /**
   * Asks the server. While the connection is down the request waits.
   *
   * @param {import('./protocol.js').Request} request
   * @param {{ signal?: AbortSignal }} [options] an aborted request is not sent (again) and its answer is ignored
   * @returns {Promise<import('./protocol.js').OkFrame>}
   */
  request(request, { signal } = {}) {
    if (this.#pending.size >= MAX_PENDING) return Promise.reject(new CallkitError('too_many_requests', { retryable: true }));
    if (this.#info.state === 'idle' || this.#info.state === 'disconnected') {
      return Promise.reject(new CallkitError('connection_lost', { retryable: true }));
    }
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      const pending = { request, sentAt: null, over: null, resolve, reject };
      this.#pending.set(id, pending);
      signal?.addEventListener('abort', () => {
        for (const [number, other] of this.#pending) if (other === pending) this.#pending.delete(number);
        reject(new CallkitError('closed'));
      }, { once: true });
      if (this.#info.state === 'connected') this.#sendPending(id, pending);
    });
  }

  /**
   * Cuts the socket as a failing network would; for tests.
   *
   * @param {number} [forMs] no attempt to come back for this long
   */
  drop(forMs = 0) {
    this.#holdUntil = this.#env.now() + forMs;
    const socket = this.#socket;
    this.#lost('dropped');
    socket?.close();
  }

  /** Ends what {@link drop} asked for and comes back at once. */
  restore() {
    this.#holdUntil = 0;
    this.wake();
  }

  /** @param {'connecting' | 'reconnecting'} state */
  #connect(state) {
    this.#clearRetry();
    this.#lastHeard = this.#env.now();
    this.#probeBy = null;
    this.#set(state, this.#info.reason, null);
    // Fetched while the socket opens; a session that can be resumed needs none.
    const token = this.#session ? null : this.#token();
    token?.catch(() => {});
    /** @type {import('./environment.js').SocketLike} */
    let socket;
    try {
      socket = this.#env.createSocket(this.#url, SUBPROTOCOL);
    } catch {
      this.#lost('network');
      return;
    }
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#received(socket, token, data);
    socket.onclose = () => {
      if (this.#socket === socket) this.#lost(this.#info.reason ?? 'network');
    };
  }

  #token() {
    return this.#getToken({ reason: this.#tokenReason });
  }

  /**
   * @param {import('./environment.js').SocketLike} socket
   * @param {Promise<string> | null} token
   * @param {unknown} data
   */
  #received(socket, token, data) {
    if (this.#socket !== socket) return;
    this.#lastHeard = this.#env.now();
    this.#probeBy = null;
    /** @type {import('./protocol.js').ServerMessage | null} */
    let message;
    try {
      message = decodeServerMessage(data);
    } catch {
      // A server that cannot be understood: the session's numbering is not to be trusted any more.
      this.#session = null;
      this.#lost('malformed');
      socket.close();
      return;
    }
    if (message) this.#handle(socket, token, message);
    if (this.#socket === socket && this.#info.state === 'connected') this.#keepAlive();
  }

  /**
   * @param {import('./environment.js').SocketLike} socket
   * @param {Promise<string> | null} token
   * @param {import('./protocol.js').ServerMessage} message
   */
  #handle(socket, token, message) {
    switch (message.type) {
      case 'hello':
        this.#limits = { ...DEFAULT_LIMITS, ...message.limits };
        // Sessions live in the memory of one server process.
        if (this.#instance !== message.instance) this.#session = null;
        this.#instance = message.instance;
        if (this.#session) {
          const { id, resumeToken } = this.#session;
          this.#send({ type: 'resume', session: id, resume_token: resumeToken, last_seq: this.#lastSeq });
        } else {
          this.#authenticate(socket, token ?? this.#token());
        }
        break;
      case 'welcome': {
        const restarted = this.#welcomedBy !== null && this.#welcomedBy !== this.#instance;
        this.#welcomedBy = this.#instance;
        this.#session = { id: message.session, resumeToken: message.resume_token };
        this.#lastSeq = this.#ackedSeq = message.seq;
        this.#refusals = 0;
        this.#tokenReason = 'connect';
        this.#rejectAll((pending) => pending.sentAt !== null && !isRepeatable(pending.request), 'connection_lost');
        this.#connected();
        // First the listeners: they may take back what has waited and is of no use any more.
        this.emit('welcome', { snapshot: message.snapshot, restarted });
        this.#sendAll();
        break;
      }
      case 'resumed':
        this.#connected();
        this.emit('resumed', null);
        this.#sendAll();
        break;
      case 'refused':
        this.#refused(socket, message.code);
        break;
      case 'closing':
        if (message.code === 'replaced') this.#stop('disconnected', 'replaced');
        else this.#info = { ...this.#info, reason: message.code };
        break;
      case 'ok':
        this.#settle(message.re, (pending) => pending.resolve(message));
        break;
      case 'error':
        if (message.re === undefined) break;
        if (message.code === 'forgotten' && this.#renumber(message.re)) break;
        this.#settle(message.re, (pending) => pending.reject(
          new CallkitError(message.code, { message: message.message, retryable: message.retryable ?? false })));
        break;
      case 'event':
        this.#event(socket, message.seq, message.event);
        break;
      case 'pong':
        break;
    }
  }

  /**
   * @param {import('./environment.js').SocketLike} socket
   * @param {Promise<string>} token
   */
  #authenticate(socket, token) {
    token.then(
      (text) => {
        if (this.#socket === socket) this.#send({ type: 'auth', token: text, client: this.#clientInfo });
      },
      (error) => {
        if (this.#socket !== socket) return;
        const failure = CallkitError.from(error);
        if (failure.retryable) {
          this.#lost(failure.code);
          socket.close();
        } else {
          this.#giveUp(failure.code);
        }
      },
    );
  }

  /** @param {import('./environment.js').SocketLike} socket @param {string} code */
  #refused(socket, code) {
    if (this.#session) {
      // A refused resume: the same connection takes an auth.
      this.#session = null;
      this.#authenticate(socket, this.#token());
      return;
    }
    if (code === 'invalid_token' || code === 'expired_token') {
      // A second refusal in a row will not be cured by a third token.
      if (++this.#refusals > 1) {
        this.#giveUp('unauthenticated');
        return;
      }
      this.#tokenReason = code === 'expired_token' ? 'expired' : 'rejected';
    }
    this.#lost(code);
    socket.close();
  }

  /**
   * @param {import('./environment.js').SocketLike} socket
   * @param {number} seq
   * @param {import('./protocol.js').ServerEvent | { kind: 'unknown' }} event
   */
  #event(socket, seq, event) {
    if (seq <= this.#lastSeq) return;
    if (seq !== this.#lastSeq + 1) {
      // A gap means that what we show may be wrong: take a fresh snapshot.
      this.#session = null;
      this.#lost('gap');
      socket.close();
      return;
    }
    this.#lastSeq = seq;
    if (seq - this.#ackedSeq >= ACK_EVERY) {
      this.#ackedSeq = seq;
      this.#send({ type: 'ack', last_seq: seq });
    }
    this.emit('event', /** @type {import('./protocol.js').ServerEvent} */ (event));
  }

  #connected() {
    this.#connectedAt = this.#lastPing = this.#env.now();
    this.#set('connected', null, null);
  }

  #tick() {
    const now = this.#env.now();
    if (now - this.#lastTick > LATE_TICK_MS) this.#judgeFrom = now + LATE_TICK_MS;
    this.#lastTick = now;
    if (this.#info.state === 'connected') this.#keepAlive();
    if (this.#socket && now >= this.#judgeFrom) {
      const silent = now - this.#lastHeard > this.#limits.silence_timeout_ms;
      const unanswered = this.#probeBy !== null && now > this.#probeBy;
      if (silent || unanswered) {
        const socket = this.#socket;
        this.#lost('silent');
        socket.close();
      }
    } else if (!this.#socket && this.#info.retryAt !== null && now >= this.#info.retryAt) {
      this.#connect('reconnecting');
    }
    if (this.#info.state !== 'connected') return;
    for (const [id, pending] of [...this.#pending]) {
      if (pending.sentAt === null || now - pending.sentAt < REQUEST_TIMEOUT_MS) continue;
      this.#pending.delete(id);
      pending.reject(new CallkitError('timeout', { retryable: true }));
    }
  }

  #keepAlive() {
    const now = this.#env.now();
    if (now - this.#lastPing < this.#limits.ping_interval_ms) return;
    this.#ping(now);
  }

  /** @param {number} now */
  #ping(now) {
    this.#lastPing = now;
    this.#ackedSeq = this.#lastSeq;
    this.#send({ type: 'ping', last_seq: this.#lastSeq });
  }

  /** The network or the computer may have been away: what is open is probed, what waits is tried at once. */
  wake() {
    const now = this.#env.now();
    if (this.#info.state === 'connected') {
      this.#ping(now);
      this.#probeBy = now + PROBE_MS;
    } else if (this.#info.retryAt !== null && now >= this.#holdUntil) {
      this.#connect('reconnecting');
    }
  }

  /** @param {string} reason */
  #lost(reason) {
    const socket = this.#socket;
    if (!socket && this.#info.retryAt !== null) return;
    this.#detach();
    const now = this.#env.now();
    if (this.#info.state === 'connected' && now - this.#connectedAt >= STABLE_MS) this.#attempt = 0;
    const base = RETRY_MS[Math.min(this.#attempt, RETRY_MS.length - 1)] ?? 0;
    const jitter = this.#attempt > 0 ? Math.min(base, JITTER_MS) * this.#env.random() : 0;
    const retryAt = Math.max(now + base + jitter, this.#holdUntil);
    this.#attempt++;
    this.#set('reconnecting', reason, retryAt);
    this.#clearRetry();
    this.#retryTimer = this.#env.setTimeout(() => {
      if (this.#info.retryAt !== null) this.#connect('reconnecting');
    }, retryAt - now);
  }

  /** @param {string} reason */
  #giveUp(reason) {
    this.#session = null;
    this.#stop('disconnected', reason);
    this.#rejectAll(() => true, 'connection_lost');
  }

  /** @param {'idle' | 'disconnected'} state @param {string | null} reason */
  #stop(state, reason) {
    this.#clearRetry();
    for (const stop of this.#stops.splice(0)) stop();
    const socket = this.#socket;
    this.#detach();
    socket?.close();
    this.#set(state, reason, null);
  }

  #detach() {
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = this.#socket.onopen = null;
    this.#socket = null;
  }

  #clearRetry() {
    if (this.#retryTimer !== null) this.#env.clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
  }

  /** @param {ConnectionState} state @param {string | null} reason @param {number | null} retryAt */
  #set(state, reason, retryAt) {
    this.#info = Object.freeze({ state, reason, attempt: this.#attempt, retryAt });
    this.emit('state', this.#info);
  }

  /** Sends what has no answer yet and was not sent over this connection. */
  #sendAll() {
    for (const [id, pending] of this.#pending) if (pending.over !== this.#socket) this.#sendPending(id, pending);
  }

  /** @param {number} id @param {Pending} pending */
  #sendPending(id, pending) {
    pending.sentAt = this.#env.now();
    pending.over = this.#socket;
    this.#send({ id, ...pending.request });
  }

  /** @param {object} frame */
  #send(frame) {
    try {
      this.#socket?.send(JSON.stringify(frame));
    } catch {
      // The socket is closing; its close event starts the reconnection.
    }
  }

  /**
   * The server had answered this request once and no longer knows what: one that may be carried out twice is asked
   * again under a new number.
   *
   * @param {number} id
   */
  #renumber(id) {
    const pending = this.#pending.get(id);
    if (!pending || !isRepeatable(pending.request)) return false;
    this.#pending.delete(id);
    const fresh = this.#nextId++;
    this.#pending.set(fresh, pending);
    this.#sendPending(fresh, pending);
    return true;
  }

  /** @param {number} id @param {(pending: Pending) => void} settle */
  #settle(id, settle) {
    const pending = this.#pending.get(id);
    if (!pending) return;
    this.#pending.delete(id);
    settle(pending);
  }

  /** @param {(pending: Pending) => boolean} which @param {string} code */
  #rejectAll(which, code) {
    for (const [id, pending] of [...this.#pending]) {
      if (!which(pending)) continue;
      this.#pending.delete(id);
      pending.reject(new CallkitError(code, { retryable: code === 'connection_lost' }));
    }
  }
}
