// <callkit-incoming>: the card of a call that rings. It takes the focus to its heading, never to Accept: an Enter that
// was meant for something else must not answer a call.

import { clock, t } from '../i18n/index.js';
import { CallkitElement, h, setAttribute, setText } from './base.js';
import { ELEMENT_EVENTS } from './events.js';
import { icon } from './icons.js';

/**
 * @fires callkit-accept-request `{ offer }`
 * @fires callkit-decline-request `{ offer }`
 * @fires callkit-mute-ring-request
 */
export class CallkitIncoming extends CallkitElement {
  static styles = [`
    :host { display: block; }
    .card { position: relative; overflow: hidden; padding: 32px; border: 1px solid var(--ck-line); border-radius: 20px; background: var(--ck-bg);
      box-shadow: var(--ck-shadow); }
    .top { display: flex; align-items: center; justify-content: space-between; gap: 16px; font-size: 14px; color: var(--ck-text-muted); }
    h1:focus-visible { outline: none; }
    h1 { margin: 0; font-size: 14px; font-weight: 600; color: var(--ck-accent-ink); }
    .who { display: flex; align-items: center; gap: 20px; margin: 24px 0 28px; }
    .avatar { display: grid; place-items: center; width: 76px; height: 76px; flex: none; border-radius: 50%; background: var(--ck-accent-soft);
      color: var(--ck-accent-ink); font-size: 30px; animation: pulse 1.6s ease-out infinite; }
    @keyframes pulse { 0% { box-shadow: 0 0 0 0 var(--ck-accent-soft); } 70%, 100% { box-shadow: 0 0 0 18px transparent; } }
    .name { margin: 0; font-size: 27px; font-weight: 650; line-height: 1.2; overflow-wrap: anywhere; }
    .facts { display: flex; flex-wrap: wrap; gap: 6px 10px; margin: 8px 0 0; font-size: 14px; color: var(--ck-text-muted); }
    .tag { padding: 1px 9px; border-radius: 999px; background: var(--ck-tool); font-size: 12.5px; }
    .tag[data-verified] { background: var(--ck-ok-soft); color: var(--ck-ok); }
    .id { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: 12.5px; overflow-wrap: anywhere; }
    .actions { display: flex; gap: 12px; align-items: center; }
    .actions button { display: inline-flex; align-items: center; justify-content: center; gap: 10px; min-height: 54px; padding: 0 26px;
      border: 0; border-radius: 14px; font-size: 16px; font-weight: 600; }
    .accept { flex: 2; background: var(--ck-ok-fill); color: #fff; }
    .accept:hover { background: var(--ck-ok-fill-hover); }
    .decline { flex: 1; background: var(--ck-tool); }
    .decline:hover { background: var(--ck-tool-hover); }
    .ring { display: inline-flex; align-items: center; gap: 6px; min-height: 32px; padding: 0 8px; border: 0; border-radius: 8px; background: none;
      color: var(--ck-text-muted); font-size: 13.5px; }
    .ring:hover { background: var(--ck-tool); }
    .bottom { display: flex; align-items: center; justify-content: space-between; margin-top: 16px; font-size: 14px; color: var(--ck-text-muted); }
    progress { position: absolute; inset: auto 0 0 0; width: 100%; height: 4px; appearance: none; border: 0; background: var(--ck-line); }
    progress::-webkit-progress-bar { background: var(--ck-line); }
    progress::-webkit-progress-value { background: var(--ck-accent); transition: width .25s linear; }
    progress::-moz-progress-bar { background: var(--ck-accent); }
    @media (prefers-reduced-motion: reduce) { .avatar { animation: none; } }
    @media (max-width: 620px) { .card { padding: 20px; } .actions button { padding: 0 14px; } }
  `];

  #heading = h('h1', { id: 'heading', tabindex: -1 });
  #waited = h('span', {});
  #name = h('p', { class: 'name', id: 'name', 'data-ck': 'offer-name' });
  #verified = h('span', { class: 'tag' });
  #queue = h('span', { class: 'tag' });
  #id = h('span', { class: 'id', 'data-ck': 'offer-id' });
  #accept = h('button', { type: 'button', class: 'accept', 'data-ck': 'accept' }, icon('phone'));
  #decline = h('button', { type: 'button', class: 'decline', 'data-ck': 'decline' }, icon('close'));
  #ring = h('button', { type: 'button', class: 'ring' }, icon('sound-off'));
  #seconds = h('span', { 'data-ck': 'offer-seconds' });
  #progress = h('progress', { max: 1, 'aria-hidden': 'true' });
  /** @type {string | null} */
  #offer = null;

  /** @override @param {ShadowRoot} root */
  build(root) {
    setText(this.#heading, t('offer-heading'));
    this.#accept.append(t('accept'));
    this.#decline.append(t('decline'));
    this.#ring.append(t('mute-ring'));
    root.append(h('div', { class: 'card', role: 'alertdialog', 'aria-labelledby': 'heading name', 'data-ck': 'offer' },
      h('div', { class: 'top' }, this.#heading, this.#waited),
      h('div', { class: 'who' }, h('div', { class: 'avatar', 'aria-hidden': 'true' }, icon('user')),
        h('div', {}, this.#name, h('p', { class: 'facts' }, this.#verified, this.#queue, this.#id))),
      h('div', { class: 'actions' }, this.#accept, this.#decline),
      h('div', { class: 'bottom' }, this.#seconds, this.#ring),
      this.#progress));
  }

  /** @override @param {AbortSignal} signal */
  connected(signal) {
    this.#accept.addEventListener('click', () => this.request(ELEMENT_EVENTS.accept, { offer: this.#offer }), { signal });
    this.#decline.addEventListener('click', () => this.request(ELEMENT_EVENTS.decline, { offer: this.#offer }), { signal });
    this.#ring.addEventListener('click', () => {
      this.request(ELEMENT_EVENTS.muteRing);
      this.#ring.hidden = true;
    }, { signal });
  }

  /**
   * @param {import('../client/call-store.js').OfferState} offer
   * @param {{ now: number, queueName: string, busy: boolean }} context `busy`: an answer is on its way
   */
  show(offer, { now, queueName, busy }) {
    if (this.#offer !== offer.id) {
      this.#offer = offer.id;
      this.#ring.hidden = false;
    }
    setText(this.#name, offer.name ?? t('offer-unnamed'));
    setText(this.#verified, t(offer.verified ? 'offer-verified' : 'offer-unverified'));
    setAttribute(this.#verified, 'data-verified', offer.verified);
    setAttribute(this.#verified, 'hidden', !offer.name);
    setText(this.#queue, queueName);
    setText(this.#id, offer.customer);
    setText(this.#waited, t('offer-waited', { time: clock(now - offer.waitingSince) }));
    const left = Math.max(0, offer.expiresAt - now);
    setText(this.#seconds, t('offer-seconds', { n: Math.ceil(left / 1000) }));
    this.#progress.value = offer.ring_ms > 0 ? Math.min(1, left / offer.ring_ms) : 0;
    this.#accept.disabled = this.#decline.disabled = busy;
  }

  focus() {
    this.#heading.focus();
  }
}
