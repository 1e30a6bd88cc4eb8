// <callkit-toolbar>: the control panel of a call. One tab stop, arrows move inside (role=toolbar). Names of the
// buttons never change; state is told by aria-pressed, icon and tooltip.

import { t } from '../i18n/index.js';
import { CallkitElement, h, setAttribute, setText } from './base.js';
import { ELEMENT_EVENTS } from './events.js';
import { icon, setIcon } from './icons.js';

/**
 * @typedef {{ microphone: boolean, camera: boolean, screen: boolean, chat: boolean, unread: number, canShare: boolean }} Controls
 */

const TOOLS = /** @type {const} */ ([
  { name: 'microphone', hook: 'mic', on: 'mute', off: 'unmute', event: ELEMENT_EVENTS.microphone },
  { name: 'camera', hook: 'camera', on: 'stop-camera', off: 'start-camera', event: ELEMENT_EVENTS.camera },
  { name: 'screen', hook: 'screen', on: 'stop-sharing', off: 'share-screen', event: ELEMENT_EVENTS.screen },
  { name: 'chat', hook: 'chat', on: 'chat', off: 'chat', event: ELEMENT_EVENTS.chat },
]);
/** Tools that have no state of their own. */
const PLAIN = /** @type {const} */ ([{ name: 'settings', hook: 'devices', text: 'devices', event: ELEMENT_EVENTS.devices }]);

/**
 * @fires callkit-microphone-request
 * @fires callkit-camera-request
 * @fires callkit-screen-request inside the click, so that `getDisplayMedia` may be called by the listener
 * @fires callkit-chat-request
 * @fires callkit-devices-request
 * @fires callkit-end-request
 */
export class CallkitToolbar extends CallkitElement {
  static styles = [`
    :host { display: block; }
    [role=toolbar] { display: flex; align-items: center; justify-content: center; gap: 10px; }
    button { position: relative; display: inline-flex; flex-direction: column; align-items: center; justify-content: center;
      gap: 3px; min-width: 76px; height: 56px; padding: 0 10px; border: 1px solid var(--ck-line); border-radius: 14px;
      background: var(--ck-bg); color: var(--ck-text); transition: background .15s; }
    button:hover { background: var(--ck-tool); }
    button span.name { font-size: 12px; line-height: 1; white-space: nowrap; }
    button[aria-pressed=false].device { border-color: transparent; background: var(--ck-bad-soft); color: var(--ck-bad); }
    button[aria-pressed=true].mode { border-color: transparent; background: var(--ck-accent-soft); color: var(--ck-accent-ink); }
    .end { margin-inline-start: 14px; min-width: 96px; border-color: transparent; background: var(--ck-bad-fill); color: #fff; }
    .end:hover { background: var(--ck-bad-fill-hover); }
    .badge { position: absolute; top: 5px; inset-inline-end: 14px; min-width: 18px; height: 18px; padding: 0 5px; border-radius: 9px;
      background: var(--ck-accent); color: var(--ck-accent-text); font-size: 11px; line-height: 18px; text-align: center; }
    @media (max-width: 620px) {
      [role=toolbar] { gap: 6px; }
      button { min-width: 52px; padding: 0 4px; }
      .end { min-width: 60px; margin-inline-start: 6px; }
    }
    @media (max-width: 420px) { button span.name { font-size: 10px; } }
  `];

  /** @type {Map<string, HTMLButtonElement>} */
  #buttons = new Map();
  #badge = h('span', { class: 'badge', 'aria-hidden': 'true', hidden: true });

  /** @override @param {ShadowRoot} root */
  build(root) {
    const bar = h('div', { role: 'toolbar', 'aria-label': t('toolbar') });
    for (const tool of TOOLS) {
      const button = h('button', {
        type: 'button', class: tool.name === 'screen' || tool.name === 'chat' ? 'mode' : 'device',
        'data-ck': tool.hook, 'aria-pressed': 'false', tabindex: tool.name === 'microphone' ? 0 : -1,
      }, icon(tool.name), h('span', { class: 'name' }, t(tool.name)));
      if (tool.name === 'chat') button.append(this.#badge);
      this.#buttons.set(tool.name, button);
      bar.append(button);
    }
    for (const tool of PLAIN) {
      const button = h('button', { type: 'button', 'data-ck': tool.hook, 'aria-haspopup': 'dialog', tabindex: -1 },
        icon(tool.name), h('span', { class: 'name' }, t(tool.text)));
      this.#buttons.set(tool.name, button);
      bar.append(button);
    }
    const end = h('button', { type: 'button', class: 'end', 'data-ck': 'end', title: t('end-call'), tabindex: -1 },
      icon('end'), h('span', { class: 'name' }, t('end')));
    this.#buttons.set('end', end);
    bar.append(end);
    root.append(bar);
  }

  /** @override @param {AbortSignal} signal */
  connected(signal) {
    for (const tool of TOOLS) {
      this.#buttons.get(tool.name)?.addEventListener('click', () => this.request(tool.event), { signal });
    }
    for (const tool of PLAIN) this.#buttons.get(tool.name)?.addEventListener('click', () => this.request(tool.event), { signal });
    this.#buttons.get('end')?.addEventListener('click', () => this.request(ELEMENT_EVENTS.end), { signal });
    this.shadowRoot?.addEventListener('keydown', (event) => this.#move(/** @type {KeyboardEvent} */ (event)), { signal });
    this.shadowRoot?.addEventListener('focusin', (event) => this.#remember(event.target), { signal });
  }

  /** @param {Controls} controls */
  show(controls) {
    for (const tool of TOOLS) {
      const button = this.#buttons.get(tool.name);
      if (!button) continue;
      const on = controls[tool.name];
      setAttribute(button, 'aria-pressed', String(on));
      setAttribute(button, 'title', t(on ? tool.on : tool.off));
      if (tool.name === 'microphone' || tool.name === 'camera') setIcon(button, on ? tool.name : `${tool.name}-off`);
      if (tool.name === 'screen') setAttribute(button, 'hidden', !controls.canShare);
    }
    setAttribute(this.#badge, 'hidden', controls.unread === 0 || controls.chat);
    setText(this.#badge, controls.unread > 9 ? '9+' : String(controls.unread));
  }

  /** Puts the focus on the microphone, where the keyboard starts in a call. */
  focus() {
    this.#buttons.get('microphone')?.focus();
  }

  /** @param {KeyboardEvent} event */
  #move(event) {
    const all = [...this.#buttons.values()].filter((button) => !button.hidden);
    const at = all.indexOf(/** @type {HTMLButtonElement} */ (event.target));
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    all[(to + all.length) % all.length]?.focus();
  }

  /** @param {EventTarget | null} target */
  #remember(target) {
    for (const button of this.#buttons.values()) button.tabIndex = button === target ? 0 : -1;
  }
}
