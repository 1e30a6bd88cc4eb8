// <callkit-devices>: which microphone, camera and speaker to use, with a look, a level and a test sound. A dialog, the
// same before and in a call.

import { t } from '../i18n/index.js';
import { CallkitElement, h, setAttribute, setText } from './base.js';
import { ELEMENT_EVENTS } from './events.js';
import { icon } from './icons.js';
import { LevelMeter, canChooseSpeaker, canPickSpeaker, playTestSound } from './sound.js';

/**
 * @typedef {'microphone' | 'camera' | 'speaker'} Kind
 * @typedef {import('../client/device-book.js').DeviceList} DeviceList
 *
 * @typedef {object} DevicesView
 * @property {DeviceList} list
 * @property {Record<Kind, string>} chosen ids; empty: what the system takes
 * @property {Record<'microphone' | 'camera', string>} inUse names
 * @property {Record<'microphone' | 'camera', string>} trouble what is wrong with it, in words; empty: nothing
 * @property {MediaStreamTrack | null} microphone
 * @property {MediaStreamTrack | null} camera
 * @property {boolean} microphoneOn
 * @property {boolean} cameraOn
 */

const KINDS = /** @type {const} */ (['camera', 'microphone', 'speaker']);

/**
 * @fires callkit-device-request `{ kind, id }`; an empty id is what the system takes
 * @fires callkit-pick-speaker-request inside the click, for the browser's own picker
 */
export class CallkitDevices extends CallkitElement {
  static styles = [`
    dialog { width: min(460px, calc(100vw - 24px)); max-height: min(760px, calc(100vh - 24px)); overflow-y: auto; padding: 0; border: 1px solid var(--ck-line);
      border-radius: 20px; background: var(--ck-bg); color: var(--ck-text); box-shadow: var(--ck-shadow); }
    dialog::backdrop { background: rgb(12 16 20 / .45); }
    header { position: sticky; z-index: 1; top: 0; display: flex; align-items: center; justify-content: space-between; gap: 16px; padding: 18px 22px 12px; background: var(--ck-bg); }
    h2 { margin: 0; font-size: 19px; }
    .body { display: flex; flex-direction: column; gap: 18px; padding: 0 22px 22px; }
    .look { position: relative; overflow: hidden; border-radius: 14px; aspect-ratio: 16 / 9; background: var(--ck-stage); color: #a7b0ba; }
    .look video { width: 100%; height: 100%; object-fit: cover; transform: scaleX(-1); }
    .look .off { position: absolute; inset: 0; display: grid; place-items: center; font-size: 34px; }
    .field { display: flex; flex-direction: column; gap: 6px; }
    label { font-size: 14px; font-weight: 600; }
    .row { display: flex; gap: 10px; }
    .row select { flex: 1; }
    select { width: 100%; min-width: 0; height: 46px; padding: 0 12px; border: 1px solid var(--ck-border); border-radius: 12px; background: var(--ck-bg); color: inherit; font: inherit; text-overflow: ellipsis; }
    .button { min-height: 46px; padding: 0 16px; border: 1px solid transparent; border-radius: 12px; background: var(--ck-tool); font-weight: 600; white-space: nowrap; }
    .button:hover { background: var(--ck-tool-hover); }
    .close { display: grid; place-items: center; width: 44px; height: 44px; border: 0; border-radius: 12px; background: none; }
    .close:hover { background: var(--ck-tool); }
    .note { margin: 0; font-size: 13.5px; color: var(--ck-text-muted); }
    .note.bad { color: var(--ck-bad); }
    .meter { display: flex; gap: 3px; height: 12px; }
    .meter i { flex: 1; border-radius: 3px; background: var(--ck-line); }
    .meter i[data-lit] { background: var(--ck-ok); }
  `];

  #video = h('video', { 'data-ck': 'devices-video', autoplay: true, playsinline: true });
  #off = h('div', { class: 'off' }, icon('camera-off'));
  #look = h('div', { class: 'look' }, this.#video, this.#off);
  #bars = Array.from({ length: 20 }, () => h('i'));
  #meter = h('div', { class: 'meter', role: 'meter', 'data-ck': 'mic-level', 'aria-valuemin': 0, 'aria-valuemax': 100 }, ...this.#bars);
  #test = h('button', { type: 'button', class: 'button', 'data-ck': 'test-sound' });
  #pick = h('button', { type: 'button', class: 'button', 'data-ck': 'pick-speaker' });
  #close = h('button', { type: 'button', class: 'close', 'data-ck': 'devices-close' }, icon('close'));
  #title = h('h2', { id: 'title', tabindex: -1 });
  #dialog = h('dialog', { 'aria-labelledby': 'title', 'data-ck': 'devices-dialog' });
  /** @type {Record<Kind, { select: HTMLSelectElement, field: HTMLElement, note: HTMLElement }>} */
  #fields = { camera: field('camera'), microphone: field('microphone'), speaker: field('speaker') };
  #level = new LevelMeter((level) => this.#showLevel(level));
  /** @type {Element | null} */
  #openedFrom = null;
  /** @type {DevicesView | null} */
  #view = null;

  /** @override @param {ShadowRoot} root */
  build(root) {
    this.#video.muted = true;
    setText(this.#title, t('devices'));
    setText(this.#test, t('test-sound'));
    setText(this.#pick, t('pick-speaker'));
    setAttribute(this.#video, 'aria-label', t('self-view'));
    setAttribute(this.#meter, 'aria-label', t('mic-level'));
    for (const button of [this.#close]) {
      setAttribute(button, 'aria-label', t('close'));
      setAttribute(button, 'title', t('close'));
    }
    const { camera, microphone, speaker } = this.#fields;
    microphone.field.append(this.#meter);
    const [pickable, choosable] = [canPickSpeaker(), canChooseSpeaker()];
    const row = h('div', { class: 'row' }, choosable ? speaker.select : null, pickable ? this.#pick : null, this.#test);
    speaker.field.append(row);
    for (const one of [camera, microphone, speaker]) one.field.append(one.note);
    this.#dialog.append(
      h('header', {}, this.#title, this.#close),
      h('div', { class: 'body' }, this.#look, camera.field, microphone.field, speaker.field),
    );
    root.append(this.#dialog);
  }

  /** @override @param {AbortSignal} signal */
  connected(signal) {
    this.#close.addEventListener('click', () => this.#dialog.close(), { signal });
    this.#dialog.addEventListener('close', () => this.#closed(), { signal });
    // A click on the backdrop is one on the dialog itself.
    this.#dialog.addEventListener('click', (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    }, { signal });
    this.#test.addEventListener('click', () => this.#playTest(), { signal });
    this.#pick.addEventListener('click', () => this.request(ELEMENT_EVENTS.pickSpeaker), { signal });
    for (const kind of KINDS) {
      const { select } = this.#fields[kind];
      select.addEventListener('change', () => this.request(ELEMENT_EVENTS.chooseDevice, { kind, id: select.value }), { signal });
    }
  }

  /** @override */
  disconnectedCallback() {
    super.disconnectedCallback();
    this.#level.watch(null);
  }

  get isOpen() {
    return this.#dialog.open;
  }

  /** Opens it; the focus returns to where it was. */
  open() {
    if (this.#dialog.open) return;
    this.#openedFrom = deepActive();
    this.#dialog.showModal();
    this.#title.focus();
    if (this.#view) this.show(this.#view);
  }

  close() {
    this.#dialog.close();
  }

  /** @param {DevicesView} view */
  show(view) {
    this.#view = view;
    if (!this.#dialog.open) return;
    for (const kind of KINDS) this.#fill(kind, view);
    const shown = this.#video.srcObject instanceof MediaStream ? this.#video.srcObject.getVideoTracks()[0] ?? null : null;
    const camera = view.cameraOn ? view.camera : null;
    if (shown !== camera) this.#video.srcObject = camera ? new MediaStream([camera]) : null;
    setAttribute(this.#off, 'hidden', camera !== null);
    this.#level.watch(view.microphone);
    setAttribute(this.#meter, 'hidden', view.microphone === null);
  }

  /** @param {Kind} kind @param {DevicesView} view */
  #fill(kind, { list, chosen, inUse, trouble, microphoneOn }) {
    const { select, note } = this.#fields[kind];
    const devices = list[kind];
    const options = [{ id: '', label: t('device-system') }, ...devices.map(({ id, label }, index) => ({ id, label: label || t('device-unnamed', { n: index + 1 }) }))];
    const key = JSON.stringify(options);
    if (select.dataset['options'] !== key) {
      select.dataset['options'] = key;
      select.replaceChildren(...options.map(({ id, label }) => h('option', { value: id }, label)));
    }
    select.value = options.some(({ id }) => id === chosen[kind]) ? chosen[kind] : '';
    if (kind === 'speaker') {
      setText(note, canChooseSpeaker() ? '' : t('speaker-system-only'));
      return;
    }
    const wrong = trouble[kind];
    const muted = kind === 'microphone' && !microphoneOn ? t('mic-off') : '';
    // What is used, if it is not what the list says.
    const other = select.value === '' && inUse[kind] !== '' ? t('device-in-use', { name: inUse[kind] }) : '';
    setText(note, wrong || [muted, other].filter(Boolean).join(' '));
    setAttribute(note, 'class', wrong ? 'note bad' : 'note');
  }

  async #playTest() {
    this.#test.disabled = true;
    try {
      await playTestSound(this.#view?.chosen.speaker ?? '');
    } finally {
      this.#test.disabled = false;
    }
  }

  /** @param {number} level 0 to 1 */
  #showLevel(level) {
    const lit = Math.round(level * this.#bars.length);
    this.#bars.forEach((bar, index) => setAttribute(bar, 'data-lit', index < lit));
    setAttribute(this.#meter, 'aria-valuenow', Math.round(level * 100));
  }

  #closed() {
    this.#level.watch(null);
    this.#video.srcObject = null;
    if (this.#openedFrom instanceof HTMLElement) this.#openedFrom.focus();
    this.#openedFrom = null;
    this.dispatchEvent(new CustomEvent('close'));
  }
}

/** @param {Kind} kind */
function field(kind) {
  const select = h('select', { id: kind, 'data-ck': `choose-${kind}` });
  const field = h('div', { class: 'field' }, h('label', { for: kind }, t(kind)), kind === 'speaker' ? null : select);
  return { select, field, note: h('p', { class: 'note', id: `${kind}-note`, 'data-ck': `${kind}-note` }) };
}

/** The focused element, also inside shadow roots. */
function deepActive() {
  let active = document.activeElement;
  while (active?.shadowRoot?.activeElement) active = active.shadowRoot.activeElement;
  return active;
}
