// The devices on a page, before and in a call: the dialog, what is told when one comes or goes, and where sound is played.

import { CallkitError } from '../client/errors.js';
import { CallkitDevices } from '../elements/devices.js';
import { ELEMENT_EVENTS } from '../elements/events.js';
import { t } from '../i18n/index.js';
import { alertNow, errorText, toast } from './page.js';

/**
 * @typedef {import('../client/call-store.js').State} State
 * @typedef {import('../elements/devices.js').Kind} Kind
 */

export class DevicePanel {
  #client;
  #dialog = new CallkitDevices();
  #setSpeaker;
  /** Whether the devices were opened for the dialog alone. */
  #opened = false;
  /** What is wrong with a device, in words. */
  #trouble = { microphone: '', camera: '' };
  /** What was told of devices that the system silences. */
  #told = { microphone: false, camera: false };

  /**
   * @param {import('../client/index.js').Client} client
   * @param {(id: string) => void} setSpeaker
   */
  constructor(client, setSpeaker) {
    this.#client = client;
    this.#setSpeaker = setSpeaker;
    const { capture } = client.media;
    document.body.append(this.#dialog);
    this.#dialog.addEventListener(ELEMENT_EVENTS.chooseDevice, (event) => {
      const { kind, id } = /** @type {CustomEvent} */ (event).detail;
      this.#choose(kind, id);
    });
    // Inside the click: the browser's own picker wants a gesture.
    this.#dialog.addEventListener(ELEMENT_EVENTS.pickSpeaker, () => this.#pickSpeaker());
    this.#dialog.addEventListener('close', () => this.#closed());
    // A dialog must not stand between an operator and a call that rings, nor outlive a call.
    client.on('offer', () => this.#dialog.close());
    client.on('call-end', () => this.#dialog.close());
    capture.book.on('change', () => this.#changed());
    client.on('capture-failure', (error) => {
      if (error.device === 'microphone' || error.device === 'camera') this.#trouble[error.device] = errorText(error);
      alertNow(errorText(error));
      toast(errorText(error));
      this.#show();
    });
    client.on('device-lost', ({ kind, device, using }) => {
      const name = device.label || t(kind);
      toast(using === null ? t(`device-lost-${kind}`, { device: name }) : t('device-lost', { device: name, using }));
      if (kind === 'microphone' && using === null) alertNow(t('device-lost-microphone', { device: name }));
    });
    client.on('device-back', ({ kind, device, inUse }) => {
      const name = device.label || t(kind);
      if (inUse) toast(t('device-back-used', { device: name }));
      else toast(t('device-back', { device: name }), { label: t('switch-back'), run: () => this.#choose(kind, device.id, { remember: false }) });
    });
    capture.book.refresh();
  }

  /** Shows the dialog; outside a call the devices open for it. */
  async open() {
    this.#dialog.open();
    this.#show();
    const { media, call } = this.#client.getState();
    // Who only listens to a call opens no microphone.
    const listens = call?.participants.some((participant) => participant.you && participant.supervising) === true;
    if (media.hasMicrophone || listens) return;
    const inCall = call !== null && call.phase !== 'ended';
    try {
      const { cameraProblem } = await this.#client.media.acquire();
      this.#opened = !inCall;
      this.#trouble = { microphone: '', camera: cameraProblem ? errorText(cameraProblem) : '' };
      if (!this.#dialog.isOpen) this.#closed();
    } catch (error) {
      const failure = CallkitError.from(error, 'capture_failed');
      if (failure.code !== 'closed') this.#trouble.microphone = errorText(failure);
    }
    this.#show();
  }

  /** @param {State} state */
  update(state) {
    for (const kind of /** @type {const} */ (['microphone', 'camera'])) {
      const silenced = state.media[kind === 'microphone' ? 'microphoneState' : 'cameraState'] === 'muted_by_system';
      if (silenced && !this.#told[kind]) toast(t(`${kind === 'microphone' ? 'mic' : 'camera'}-muted_by_system-own`));
      this.#told[kind] = silenced;
    }
    // Opened for a look and needed now: they stay open when the dialog is closed.
    if (state.call && state.call.phase !== 'ended') this.#opened = false;
    this.#show();
  }

  /** @param {Kind} kind @param {string} id @param {{ remember?: boolean }} [options] */
  async #choose(kind, id, options) {
    const { capture } = this.#client.media;
    if (kind === 'speaker') {
      capture.book.prefer('speaker', id);
      return;
    }
    try {
      await capture.select(kind, id, options);
      this.#trouble[kind] = '';
    } catch (error) {
      this.#trouble[kind] = errorText(CallkitError.from(error, 'capture_failed'));
      if (!this.#dialog.isOpen) toast(this.#trouble[kind]);
    }
    this.#show();
  }

  #pickSpeaker() {
    /** @type {any} */ (navigator.mediaDevices).selectAudioOutput().then(
      (/** @type {{ deviceId: string, label: string }} */ { deviceId: id, label }) => this.#client.media.capture.book.addSpeaker({ id, label }),
      // Closing the picker is an answer too.
      () => {},
    );
  }

  #changed() {
    this.#setSpeaker(this.#client.media.capture.book.resolve('speaker') ?? '');
    this.#show();
  }

  #closed() {
    if (!this.#opened) return;
    this.#opened = false;
    this.#client.media.release();
  }

  #show() {
    if (!this.#dialog.isOpen) return;
    const { media } = this.#client;
    const { capture } = media;
    const { book } = capture;
    const { microphone, camera, microphoneState, cameraState } = this.#client.getState().media;
    this.#dialog.show({
      list: book.list,
      chosen: { microphone: book.resolve('microphone') ?? '', camera: book.resolve('camera') ?? '', speaker: book.resolve('speaker') ?? '' },
      inUse: { microphone: capture.inUse('microphone')?.label ?? '', camera: capture.inUse('camera')?.label ?? '' },
      trouble: {
        microphone: microphoneState === 'muted_by_system' ? t('mic-muted_by_system-own') : this.#trouble.microphone,
        camera: cameraState === 'muted_by_system' ? t('camera-muted_by_system-own') : this.#trouble.camera,
      },
      microphone: media.localTrack('microphone'), camera: media.localTrack('camera'), microphoneOn: microphone, cameraOn: camera,
    });
  }
}
