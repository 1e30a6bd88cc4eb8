// What the page shows: one frozen snapshot, changed only by what the server confirmed (and by chat lines that are
// marked as pending). Durations of the wire become points of local monotonic time here, so that views can count on.

/**
 * @typedef {import('./protocol.js').ParticipantView & { lostSince: number | null, keptUntil: number | null }} Participant
 *   with `reconnecting`: since when, and until when the place is kept
 * @typedef {Omit<import('./protocol.js').CallView, 'participants'> & { activeSince: number | null,
 *   participants: readonly Participant[] }} CallState
 * @typedef {import('./protocol.js').OfferView & { expiresAt: number, waitingSince: number }} OfferState
 * @typedef {import('./protocol.js').AgentView & { presenceSince: number, activitySince: number }} AgentState
 * @typedef {import('./protocol.js').QueueView & { oldestSince: number | null }} QueueState
 * @typedef {import('./protocol.js').ActiveCallView & { since: number }} TalkState
 * @typedef {object} ChatLine
 * @property {string | null} id `null` until the server has kept it
 * @property {string | null} clientId
 * @property {number} seq
 * @property {boolean} mine
 * @property {import('./protocol.js').Role} from
 * @property {string} text
 * @property {number} atMs
 * @property {'sent' | 'pending' | 'failed'} status
 *
 * @typedef {object} State
 * @property {import('./connection.js').ConnectionInfo} connection
 * @property {import('./protocol.js').You | null} you
 * @property {AgentState | null} agent
 * @property {OfferState | null} offer
 * @property {CallState | null} call the open call, or the one that ended last
 * @property {readonly ChatLine[]} chat
 * @property {readonly QueueState[]} queues
 * @property {readonly TalkState[]} talks supervisors: what can be supervised, the longest first
 * @property {Readonly<Record<string, import('./protocol.js').QualityView>>} quality by participant
 * @property {import('./media.js').MediaInfo} media
 * @property {import('./stats.js').Sample | null} sample own measurements
 *
 * @typedef {{ type: 'connection', connection: import('./connection.js').ConnectionInfo }
 *   | { type: 'welcome', snapshot: import('./protocol.js').Snapshot, now: number }
 *   | { type: 'event', event: import('./protocol.js').ServerEvent, now: number }
 *   | { type: 'call', call: import('./protocol.js').CallView, now: number }
 *   | { type: 'chat', message: import('./protocol.js').ChatView }
 *   | { type: 'chat-written', line: { clientId: string, text: string, from: import('./protocol.js').Role, atMs: number } }
 *   | { type: 'chat-failed', clientId: string } | { type: 'chat-retried', clientId: string }
 *   | { type: 'media', media: import('./media.js').MediaInfo }
 *   | { type: 'sample', sample: import('./stats.js').Sample | null }
 *   | { type: 'closed' }} Action
 */

/** Lines kept on the page; older ones are in the history. */
const MAX_LINES = 2000;

/** @param {import('./media.js').MediaInfo} media @returns {State} */
export function initialState(media) {
  return Object.freeze({
    connection: Object.freeze({ state: /** @type {const} */ ('idle'), reason: null, attempt: 0, retryAt: null }),
    you: null, agent: null, offer: null, call: null, chat: Object.freeze([]), queues: Object.freeze([]),
    talks: Object.freeze([]), quality: Object.freeze({}), media, sample: null,
  });
}

/**
 * The next state; the same object if nothing changed.
 *
 * @param {State} state
 * @param {Action} action
 * @returns {State}
 */
export function reduce(state, action) {
  switch (action.type) {
    case 'connection': return next(state, { connection: action.connection });
    case 'welcome': return welcomed(state, action.snapshot, action.now);
    case 'event': return happened(state, action.event, action.now);
    case 'call': return withCall(state, action.call, action.now);
    case 'chat': return withMessage(state, action.message);
    case 'chat-written': return withLine(state, {
      id: null, seq: Number.MAX_SAFE_INTEGER, mine: true, status: 'pending', ...action.line,
    });
    case 'chat-failed': return withStatus(state, action.clientId, 'failed');
    case 'chat-retried': return withStatus(state, action.clientId, 'pending');
    case 'media': return next(state, { media: action.media });
    case 'sample': return next(state, { sample: action.sample });
    // The next one to sign in here is told nothing of this one's calls.
    case 'closed': return next(initialState(state.media), { connection: state.connection });
  }
}

/** @param {State} state @param {import('./protocol.js').Snapshot} snapshot @param {number} now */
function welcomed(state, snapshot, now) {
  const before = state.call;
  /** @type {CallState | null} */
  let call = snapshot.call ? timedCall(snapshot.call, now) : null;
  if (!call && before) {
    // It ended while nobody could tell us; if that was long ago, only the history knows why.
    const ended = snapshot.ended?.id === before.id ? timedCall(snapshot.ended, now) : null;
    call = before.phase === 'ended' ? before : ended ?? { ...before, phase: 'ended', reason: 'unknown' };
  }
  const sameCall = before !== null && call !== null && before.id === call.id;
  const unsent = sameCall
    ? state.chat.filter((line) => line.status !== 'sent' && !snapshot.chat.some((m) => m.client_id === line.clientId))
    : [];
  const kept = sameCall && !snapshot.call ? state.chat : [...snapshot.chat.map(toLine), ...unsent];
  return next(state, {
    you: snapshot.you,
    agent: snapshot.agent ? timedAgent(snapshot.agent, now) : null,
    offer: snapshot.offer ? timedOffer(snapshot.offer, now) : null,
    call, chat: kept,
    queues: snapshot.queues.map((queue) => timedQueue(queue, now)),
    talks: (snapshot.calls ?? []).map((talk) => timedTalk(talk, now)).sort(byStart),
    quality: sameCall ? state.quality : {},
  });
}

/** @param {State} state @param {import('./protocol.js').ServerEvent} event @param {number} now @returns {State} */
function happened(state, event, now) {
  switch (event.kind) {
    case 'call': return withCall(state, event.call, now);
    case 'offer.new': return next(state, { offer: timedOffer(event.offer, now) });
    case 'offer.closed': return state.offer?.id === event.offer ? next(state, { offer: null }) : state;
    case 'agent':
      if (state.agent && event.agent.version < state.agent.version) return state;
      return next(state, { agent: timedAgent(event.agent, now) });
    case 'queue': {
      const queue = timedQueue(event.queue, now);
      const known = state.queues.some((other) => other.id === queue.id);
      return next(state, {
        queues: known ? state.queues.map((other) => (other.id === queue.id ? queue : other)) : [...state.queues, queue],
      });
    }
    case 'calls.changed': {
      const others = state.talks.filter((talk) => talk.id !== event.call.id);
      return next(state, { talks: [...others, timedTalk(event.call, now)].sort(byStart) });
    }
    case 'calls.gone': return next(state, { talks: state.talks.filter((talk) => talk.id !== event.call) });
    case 'chat': return withMessage(state, event.message);
    case 'quality': {
      if (state.call?.id !== event.call) return state;
      const quality = Object.fromEntries(event.participants.map((view) => [view.participant, view]));
      return next(state, { quality: { ...state.quality, ...quality } });
    }
    default: return state;
  }
}

/** @param {State} state @param {import('./protocol.js').CallView} view @param {number} now */
function withCall(state, view, now) {
  const current = state.call;
  if (current && current.id === view.id) {
    if (view.version < current.version) return state;
    // Whoever was taken out of a call may be given it again: only a newer view says so.
    if (current.phase === 'ended' && view.phase !== 'ended' && view.version <= current.version) return state;
    return next(state, { call: timedCall(view, now) });
  }
  // A late word about a call that is over does not push out the present one.
  if (current && current.phase !== 'ended' && view.phase === 'ended') return state;
  return next(state, { call: timedCall(view, now), chat: [], quality: {} });
}

/** @param {State} state @param {import('./protocol.js').ChatView} message */
function withMessage(state, message) {
  if (state.call && state.call.id !== message.call) return state;
  return withLine(state, toLine(message));
}

/** @param {State} state @param {ChatLine} line */
function withLine(state, line) {
  const others = state.chat.filter((other) => !(
    (line.id !== null && other.id === line.id) || (line.clientId !== null && other.clientId === line.clientId)));
  const at = line.status === 'sent' ? insertAt(others, line.seq) : others.length;
  const chat = [...others.slice(0, at), line, ...others.slice(at)];
  return next(state, { chat: chat.slice(-MAX_LINES) });
}

/** @param {readonly ChatLine[]} lines sorted by seq @param {number} seq */
function insertAt(lines, seq) {
  let at = lines.length;
  while (at > 0 && /** @type {ChatLine} */ (lines[at - 1]).seq > seq) at--;
  return at;
}

/** @param {State} state @param {string} clientId @param {'pending' | 'failed'} status */
function withStatus(state, clientId, status) {
  return next(state, {
    chat: state.chat.map((line) => (line.clientId === clientId && line.status !== 'sent' ? { ...line, status } : line)),
  });
}

/** @param {import('./protocol.js').ChatView} message @returns {ChatLine} */
function toLine(message) {
  return {
    id: message.id, clientId: message.client_id ?? null, seq: message.seq, mine: message.mine, from: message.from,
    text: message.text, atMs: message.at_ms, status: 'sent',
  };
}

/** @param {import('./protocol.js').CallView} call @param {number} now @returns {CallState} */
function timedCall(call, now) {
  return {
    ...call,
    activeSince: call.phase === 'active' ? now - (call.for_ms ?? 0) : null,
    participants: call.participants.map((participant) => {
      const lost = participant.link === 'reconnecting';
      return {
        ...participant,
        lostSince: lost ? now - (participant.lost_for_ms ?? 0) : null,
        keptUntil: lost && participant.for_ms !== undefined ? now + participant.for_ms : null,
      };
    }),
  };
}

/** @param {import('./protocol.js').OfferView} offer @param {number} now @returns {OfferState} */
function timedOffer(offer, now) {
  return { ...offer, expiresAt: now + offer.expires_in_ms, waitingSince: now - offer.waited_ms };
}

/** @param {import('./protocol.js').AgentView} agent @param {number} now @returns {AgentState} */
function timedAgent(agent, now) {
  return { ...agent, presenceSince: now - agent.presence_for_ms, activitySince: now - agent.activity_for_ms };
}

/** @param {import('./protocol.js').ActiveCallView} talk @param {number} now @returns {TalkState} */
function timedTalk(talk, now) {
  return { ...talk, since: now - talk.for_ms };
}

/** @param {TalkState} one @param {TalkState} other */
function byStart(one, other) {
  return one.since - other.since || (one.id < other.id ? -1 : 1);
}

/** @param {import('./protocol.js').QueueView} queue @param {number} now @returns {QueueState} */
function timedQueue(queue, now) {
  const longest = queue.longest_wait_ms;
  return { ...queue, oldestSince: longest === undefined || longest === null ? null : now - longest };
}

/** @param {State} state @param {Partial<State>} changes @returns {State} */
function next(state, changes) {
  return deepFreeze({ ...state, ...changes });
}

/** @template T @param {T} value @returns {T} */
function deepFreeze(value) {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}

/** The store: state, listeners, one way to change it. */
export class CallStore {
  #state;
  /** @type {Set<(state: State, before: State) => void>} */
  #listeners = new Set();

  /** @param {import('./media.js').MediaInfo} media */
  constructor(media) {
    this.#state = initialState(media);
  }

  getState() {
    return this.#state;
  }

  /**
   * @param {(state: State, before: State) => void} listener
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {() => void}
   */
  subscribe(listener, options = {}) {
    const off = () => void this.#listeners.delete(listener);
    if (options.signal?.aborted) return off;
    this.#listeners.add(listener);
    options.signal?.addEventListener('abort', off, { once: true });
    return off;
  }

  /** @param {Action} action */
  dispatch(action) {
    const before = this.#state;
    this.#state = reduce(before, action);
    if (this.#state === before) return;
    for (const listener of [...this.#listeners]) listener(this.#state, before);
  }
}
