// <callkit-link>: what is wrong with a connection, over the picture: a pill, or a banner with what one can do. Numbers
// that count down are not read out; the words are, by the page's live regions.

import { t } from '../i18n/index.js';
import { CallkitElement, h, setAttribute, setText } from './base.js';
import { ELEMENT_EVENTS } from './events.js';
import { icon } from './icons.js';

/**
 * @typedef {import('../shared/timeline.js').LinkView} LinkView
 * @typedef {{ text: string, action: 'audio-only' | 'devices' | null }} Advice a passing remark on the quality
 */

/**
 * @fires callkit-try-request
 * @fires callkit-audio-only-request
 * @fires callkit-devices-request
 */
export class CallkitLink extends CallkitElement {
  static styles = [`
    :host { display: flex; flex-direction: column; align-items: center; gap: 8px; padding: 12px; pointer-events: none; }
    .pill, .banner { pointer-events: auto; background: rgb(12 16 20 / .9); color: #fff; box-shadow: 0 6px 24px rgb(0 0 0 / .35); }
    .pill { display: inline-flex; align-items: center; gap: 10px; padding: 9px 18px; border-radius: 999px; font-size: 14.5px; font-weight: 600; }
    .banner { display: flex; flex-wrap: wrap; align-items: center; justify-content: center; gap: 10px 16px; max-width: 640px; padding: 14px 18px;
      border-radius: 16px; font-size: 15.5px; line-height: 1.4; }
    .words { display: flex; flex-direction: column; gap: 2px; min-width: 0; }
    .left { color: #c9d1d9; font-size: 14px; font-variant-numeric: tabular-nums; }
    button { min-height: 44px; padding: 0 18px; border: 1px solid rgb(255 255 255 / .35); border-radius: 12px; background: none; color: #fff; font-weight: 600; }
    button:hover { background: rgb(255 255 255 / .14); }
    .spin { width: 15px; height: 15px; border: 2.5px solid rgb(255 255 255 / .3); border-top-color: #fff; border-radius: 50%; animation: turn 1s linear infinite; }
    @keyframes turn { to { rotate: 1turn; } }
    @media (prefers-reduced-motion: reduce) { .spin { animation: none; } }
  `];

  #pillText = h('span', {});
  #spin = h('span', { class: 'spin', 'aria-hidden': 'true' });
  #check = h('span', { class: 'check', hidden: true }, icon('check'));
  #pill = h('div', { class: 'pill', hidden: true }, this.#spin, this.#check, this.#pillText);
  #ownText = h('span', {});
  #ownLeft = h('span', { class: 'left' });
  #try = h('button', { type: 'button', 'data-ck': 'try-now' });
  #audioOnly = h('button', { type: 'button', 'data-ck': 'audio-only' });
  #own = h('div', { class: 'banner', hidden: true }, h('div', { class: 'words' }, this.#ownText, this.#ownLeft), this.#try, this.#audioOnly);
  #peerText = h('span', {});
  #peerLeft = h('span', { class: 'left' });
  #peer = h('div', { class: 'banner', 'data-ck': 'link-lost', hidden: true }, h('div', { class: 'words' }, this.#peerText, this.#peerLeft));
  #adviceText = h('span', {});
  #adviceButton = h('button', { type: 'button', 'data-ck': 'advice-action' });
  #advice = h('div', { class: 'banner', 'data-ck': 'advice', hidden: true }, this.#adviceText, this.#adviceButton);
  /** @type {Advice | null} */
  #given = null;

  /** @override @param {ShadowRoot} root */
  build(root) {
    setText(this.#try, t('try-now'));
    setText(this.#audioOnly, t('audio-only'));
    root.append(this.#pill, this.#own, this.#peer, this.#advice);
  }

  /** @override @param {AbortSignal} signal */
  connected(signal) {
    this.#try.addEventListener('click', () => this.request(ELEMENT_EVENTS.tryNow), { signal });
    this.#audioOnly.addEventListener('click', () => this.request(ELEMENT_EVENTS.audioOnly), { signal });
    this.#adviceButton.addEventListener('click', () => {
      this.request(this.#given?.action === 'devices' ? ELEMENT_EVENTS.devices : ELEMENT_EVENTS.audioOnly);
    }, { signal });
  }

  /**
   * @param {LinkView} link
   * @param {{ cameraOn: boolean, advice: Advice | null }} around
   */
  show(link, { cameraOn, advice }) {
    const isPill = link.own === 'pill' || link.own === 'back';
    setAttribute(this.#pill, 'hidden', !isPill);
    setAttribute(this.#pill, 'data-ck', link.own === 'back' ? 'link-back' : 'reconnecting');
    setAttribute(this.#spin, 'hidden', link.own !== 'pill');
    setAttribute(this.#check, 'hidden', link.own !== 'back');
    if (isPill) setText(this.#pillText, link.ownText);
    setAttribute(this.#own, 'hidden', link.own !== 'banner');
    setAttribute(this.#own, 'data-ck', link.own === 'banner' ? 'reconnecting' : null);
    if (link.own === 'banner') {
      setText(this.#ownText, link.ownText);
      setText(this.#ownLeft, link.ownSeconds === null ? '' : t('link-seconds', { n: link.ownSeconds }));
      setAttribute(this.#audioOnly, 'hidden', !cameraOn);
    }
    setAttribute(this.#peer, 'hidden', link.peerText === '');
    setText(this.#peerText, link.peerText);
    setText(this.#peerLeft, link.peerSeconds === null ? '' : t('link-waiting', { n: link.peerSeconds }));
    this.#given = advice;
    setAttribute(this.#advice, 'hidden', advice === null || link.own === 'banner' || link.own === 'pill');
    if (advice) {
      setText(this.#adviceText, advice.text);
      setAttribute(this.#adviceButton, 'hidden', advice.action === null);
      setText(this.#adviceButton, t(advice.action === 'devices' ? 'devices' : 'audio-only'));
    }
  }
}
