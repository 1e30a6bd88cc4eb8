// Supervision: the list of talks, and the panel of who listens, whispers or has joined in. The devices follow the mode
// before the server is asked for less, and beside asking for more: who listens has no open microphone.

import { CallkitError } from '../client/index.js';
import { h, setAttribute, setText } from '../elements/base.js';
import { clock, t } from '../i18n/index.js';
import { byId, errorText, toast } from '../shared/page.js';

/**
 * @typedef {import('../client/call-store.js').State} State
 * @typedef {import('../client/protocol.js').SuperviseMode} SuperviseMode
 */

/** Codes of a refusal that has words of its own. */
const REFUSALS = new Map([['room_full', 'supervise-full'], ['wrong_phase', 'supervise-over'], ['not_found', 'supervise-over']]);

export class Supervision {
  #client;
  #useDevices;
  #queueName;
  #talks = byId('talks', HTMLElement);
  #list = byId('talk-list', HTMLUListElement);
  #panel = byId('supervising', HTMLElement);
  #note = byId('supervised', HTMLElement);
  /** The mode on its way. @type {SuperviseMode | null} */
  #asking = null;

  /**
   * @param {import('../client/index.js').Client} client
   * @param {{ useDevices: (devices: Promise<any>) => Promise<void>, queueName: (id: string) => string }} options
   */
  constructor(client, { useDevices, queueName }) {
    this.#client = client;
    this.#useDevices = useDevices;
    this.#queueName = queueName;
    this.#list.addEventListener('click', (event) => {
      const button = /** @type {HTMLElement} */ (event.target).closest('button');
      if (button?.dataset.call) this.#ask(button.dataset.call, 'listen');
    });
    this.#panel.addEventListener('click', (event) => {
      const { mode } = /** @type {HTMLElement} */ (event.target).dataset;
      const { call } = client.getState();
      if (mode && call) this.#ask(call.id, /** @type {SuperviseMode} */ (mode));
    });
    byId('supervise-leave', HTMLButtonElement).addEventListener('click', () => this.#leave());
  }

  /** How this page takes part in the present call; `null`: not as a supervisor. */
  get mode() {
    return modeOf(this.#client.getState());
  }

  /** Opens what the mode needs, after a reload too. @param {SuperviseMode} mode */
  openDevices(mode) {
    const { media } = this.#client;
    if (mode === 'listen') {
      media.release();
    } else if (mode === 'whisper') {
      if (media.localTrack('camera')) media.setCamera(false);
      this.#useDevices(media.acquire({ video: false }));
    } else if (media.localTrack('microphone')) {
      media.setCamera(true).catch(() => toast(t('error-camera')));
    } else {
      this.#useDevices(media.acquire());
    }
  }

  /** @param {State} state */
  render(state) {
    const { you, talks, call } = state;
    this.#talks.hidden = you?.role !== 'supervisor';
    byId('talks-empty', HTMLElement).hidden = talks.length > 0;
    this.#renderTalks(state);
    const mode = modeOf(state);
    this.#panel.hidden = mode === null;
    for (const button of this.#panel.querySelectorAll('[data-mode]')) {
      setAttribute(button, 'aria-pressed', String(button.getAttribute('data-mode') === mode));
    }
    const yes = (/** @type {boolean} */ heard) => t(heard ? 'supervise-yes' : 'supervise-no');
    if (mode !== null) {
      const text = t('supervise-hears', { customer: yes(mode === 'barge'), operator: yes(mode !== 'listen') });
      setText(byId('supervise-hears', HTMLElement), text);
    }
    const third = call?.participants.find((participant) => participant.role === 'supervisor' && !participant.you);
    this.#note.hidden = !third?.supervising;
    if (third?.supervising) setText(this.#note, t(`supervised-${third.supervising}`, { name: third.name ?? t('supervisor') }));
  }

  /** What counts on by itself. @param {State} state @param {number} now */
  tick({ talks }, now) {
    for (const talk of talks) {
      const length = this.#row(talk.id)?.querySelector('.length');
      if (length) setText(length, clock(now - talk.since));
    }
  }

  /** @param {string} call @param {SuperviseMode} mode */
  async #ask(call, mode) {
    if (this.#asking === mode) return;
    performance.mark(`ck:supervise-${mode}`);
    this.#asking = mode;
    const before = this.mode;
    if (before !== null || mode !== 'listen') this.openDevices(mode);
    try {
      await this.#client.supervisor.join(call, { mode });
    } catch (error) {
      // What is in force is what counts: the devices go back to it.
      if (before !== null) this.openDevices(before);
      const failure = CallkitError.from(error);
      const key = REFUSALS.get(failure.code);
      toast(key ? t(key) : errorText(failure));
    } finally {
      this.#asking = null;
    }
  }

  async #leave() {
    this.#client.media.release();
    try {
      await this.#client.supervisor.leave();
    } catch (error) {
      toast(errorText(CallkitError.from(error)));
    }
  }

  /** @param {string} id */
  #row(id) {
    return [...this.#list.children].find((row) => row.getAttribute('data-call') === id);
  }

  /** @param {State} state */
  #renderTalks({ talks }) {
    const rows = new Map([...this.#list.children].map((row) => [row.getAttribute('data-call'), row]));
    for (const talk of talks) {
      let row = rows.get(talk.id);
      rows.delete(talk.id);
      const who = t('talk-with', { customer: talk.name ?? t('offer-unnamed'), agent: talk.agent_name ?? talk.agent });
      if (!row) {
        row = h('li', { 'data-call': talk.id }, h('div', { class: 'who' }, h('strong', {}), h('span', {})), h('span', { class: 'length' }),
          h('button', { type: 'button', class: 'button small', 'data-ck': 'listen', 'data-call': talk.id }, t('supervise-listen')));
      }
      const [name, facts, button] = [row.querySelector('strong'), row.querySelector('.who span'), row.querySelector('button')];
      if (name) setText(name, who);
      const queue = this.#queueName(talk.queue);
      if (facts) setText(facts, talk.supervisor ? `${queue} · ${t('talk-supervised', { name: talk.supervisor })}` : queue);
      if (button) {
        button.disabled = talk.supervisor !== undefined;
        setAttribute(button, 'aria-label', `${t('supervise-listen')}: ${who}`);
      }
      this.#list.append(row);
    }
    for (const row of rows.values()) row.remove();
  }
}

/** @param {State} state @returns {SuperviseMode | null} */
function modeOf({ call }) {
  if (call?.phase !== 'active') return null;
  return call.participants.find((participant) => participant.you)?.supervising ?? null;
}
