// <callkit-chat>: the chat sidebar. Lines come from the store; a line that is on its way is marked.

import { t, timeOfDay } from '../i18n/index.js';
import { CallkitElement, h, setAttribute, setText } from './base.js';
import { ELEMENT_EVENTS } from './events.js';
import { icon } from './icons.js';

/**
 * @fires callkit-send-request `{ text }`
 * @fires callkit-retry-request `{ clientId }`
 */
export class CallkitChat extends CallkitElement {
  static styles = [`
    :host { display: flex; flex-direction: column; min-height: 0; }
    .lines { flex: 1; min-height: 0; overflow-y: auto; padding: 16px; overscroll-behavior: contain; }
    ol { display: flex; flex-direction: column; gap: 8px; margin: 0; padding: 0; list-style: none; }
    li { max-width: 86%; align-self: flex-start; }
    li[data-mine] { align-self: flex-end; }
    .text { padding: 9px 13px; border-radius: 16px 16px 16px 5px; background: var(--ck-bubble); line-height: 1.4;
      white-space: pre-wrap; overflow-wrap: anywhere; }
    li[data-mine] .text { border-radius: 16px 16px 5px 16px; background: var(--ck-accent); color: var(--ck-accent-text); }
    li[data-pending] .text { opacity: .65; }
    .meta { display: block; margin: 3px 6px 0; font-size: 11.5px; color: var(--ck-text-muted); }
    li[data-mine] .meta { text-align: end; }
    .meta button { padding: 0; border: 0; background: none; color: var(--ck-bad); text-decoration: underline; }
    .empty { margin: 32px 12px; text-align: center; color: var(--ck-text-muted); font-size: 14px; }
    .note { margin: 0; padding: 8px 16px; border-top: 1px solid var(--ck-line); font-size: 13.5px; color: var(--ck-text-muted); }
    .note:not([hidden]) + form { border-top: 0; padding-top: 4px; }
    form { display: flex; align-items: flex-end; gap: 8px; padding: 12px; border-top: 1px solid var(--ck-line); }
    textarea { flex: 1; min-width: 0; max-height: 120px; min-height: 44px; padding: 10px 14px; resize: none; border-radius: 22px;
      border: 1px solid var(--ck-border); background: var(--ck-bg); line-height: 1.4; field-sizing: content; }
    textarea::placeholder { color: var(--ck-text-muted); opacity: 1; }
    form button { display: grid; place-items: center; width: 44px; height: 44px; border: 0; border-radius: 50%;
      background: var(--ck-accent); color: var(--ck-accent-text); }
  `];

  #list = h('ol', { 'data-ck': 'chat-list' });
  #empty = h('p', { class: 'empty' });
  #lines = h('div', { class: 'lines', tabindex: 0, role: 'log', 'aria-live': 'off' }, this.#empty, this.#list);
  #input = h('textarea', { 'data-ck': 'chat-input', rows: 1, maxlength: 4000 });
  #send = h('button', { type: 'submit', 'data-ck': 'chat-send' }, icon('send'));
  #note = h('p', { class: 'note', 'data-ck': 'chat-note', hidden: true });
  #form = h('form', {}, this.#input, this.#send);
  /** @type {Map<string, { item: HTMLLIElement, line: import('../client/call-store.js').ChatLine }>} */
  #items = new Map();

  /** @override @param {ShadowRoot} root */
  build(root) {
    setText(this.#empty, t('chat-empty'));
    setAttribute(this.#lines, 'aria-label', t('chat'));
    setAttribute(this.#input, 'aria-label', t('chat-message'));
    setAttribute(this.#input, 'placeholder', t('chat-placeholder'));
    setAttribute(this.#send, 'aria-label', t('chat-send'));
    setAttribute(this.#send, 'title', t('chat-send'));
    root.append(this.#lines, this.#note, this.#form);
  }

  /** @override @param {AbortSignal} signal */
  connected(signal) {
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    }, { signal });
    this.#input.addEventListener('keydown', (event) => {
      // During composition Enter chooses a candidate of the input method.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#submit();
    }, { signal });
    this.#list.addEventListener('click', (event) => {
      const clientId = event.target instanceof HTMLElement ? event.target.dataset['retry'] : undefined;
      if (clientId) this.request(ELEMENT_EVENTS.retry, { clientId });
    }, { signal });
  }

  /** @param {readonly import('../client/call-store.js').ChatLine[]} chat */
  show(chat) {
    const atEnd = this.#lines.scrollHeight - this.#lines.scrollTop - this.#lines.clientHeight < 40;
    setAttribute(this.#empty, 'hidden', chat.length > 0);
    /** @type {Map<string, { item: HTMLLIElement, line: import("../client/call-store.js").ChatLine }>} */
    const kept = new Map();
    let added = false;
    let before = /** @type {Element | null} */ (null);
    for (const line of chat) {
      // A line keeps its element from pending to sent: the author's key comes first.
      const key = line.clientId ?? line.id ?? '';
      let entry = this.#items.get(key);
      if (!entry || entry.line !== line) {
        const item = toItem(line);
        if (entry) entry.item.replaceWith(item);
        else added = true;
        entry = { item, line };
      }
      kept.set(key, entry);
      const place = before ? before.nextElementSibling : this.#list.firstElementChild;
      if (place !== entry.item) this.#list.insertBefore(entry.item, place);
      before = entry.item;
    }
    for (const [key, { item }] of this.#items) if (!kept.has(key)) item.remove();
    this.#items = kept;
    if (added && (atEnd || chat.at(-1)?.mine)) this.#lines.scrollTop = this.#lines.scrollHeight;
  }

  /** Why lines wait; empty: they do not. @param {string} text */
  note(text) {
    setAttribute(this.#note, 'hidden', text === '');
    setText(this.#note, text);
  }

  focus() {
    this.#input.focus();
  }

  clear() {
    this.#input.value = '';
  }

  #submit() {
    const text = this.#input.value.trim();
    if (text === '') return;
    this.#input.value = '';
    this.request(ELEMENT_EVENTS.send, { text });
  }
}

/** @param {import('../client/call-store.js').ChatLine} line */
function toItem(line) {
  const item = h('li', { 'data-mine': line.mine, 'data-pending': line.status === 'pending', 'data-failed': line.status === 'failed' },
    h('div', { class: 'text' }, line.text));
  const meta = h('span', { class: 'meta' });
  if (line.status === 'failed') {
    meta.append(`${t('chat-failed')} · `, h('button', { type: 'button', 'data-retry': line.clientId }, t('try-again')));
  } else {
    const who = line.mine ? t('you') : t(line.from);
    meta.append(line.status === 'pending' ? t('chat-pending') : `${who}, ${timeOfDay(line.atMs)}`);
  }
  item.append(meta);
  return item;
}
