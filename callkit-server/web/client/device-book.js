// The devices of this computer: what there is, which ones the person prefers, and when that changes. Preferences are
// kept by id and label: ids change when site data is cleared, labels when a device moves to another socket.

import { Emitter } from './emitter.js';

/** Where the preferences are. */
const KEY = 'callkit.devices';
/** Pseudo devices of Chromium: they are the system's choice, which has an entry of its own in our lists. */
const PSEUDO = new Set(['default', 'communications', '']);

/**
 * @typedef {'microphone' | 'camera' | 'speaker'} BookKind
 * @typedef {{ id: string, label: string }} Entry
 * @typedef {{ microphone: readonly Entry[], camera: readonly Entry[], speaker: readonly Entry[], labelled: boolean }} DeviceList
 *   `labelled`: the browser tells names, as it does once a device was permitted
 *
 * @typedef {object} BookEnvironment
 * @property {() => Promise<readonly { deviceId: string, kind: string, label: string }[]>} list
 * @property {(callback: () => void) => void} onChange
 * @property {{ getItem: (key: string) => string | null, setItem: (key: string, value: string) => void } | null} storage
 *
 * @typedef {{ change: DeviceList }} BookEvents
 */

/** @returns {BookEnvironment} */
export function browserBook() {
  const devices = globalThis.navigator?.mediaDevices;
  return {
    list: async () => (devices?.enumerateDevices ? devices.enumerateDevices() : []),
    onChange: (callback) => devices?.addEventListener?.('devicechange', callback),
    storage: storage(),
  };
}

/** @extends {Emitter<BookEvents>} */
export class DeviceBook extends Emitter {
  #env;
  /** @type {DeviceList} */
  #list = Object.freeze({ microphone: [], camera: [], speaker: [], labelled: false });
  /** @type {Partial<Record<BookKind, Entry>>} */
  #preferred;
  #round = 0;

  /** @param {BookEnvironment} environment */
  constructor(environment) {
    super();
    this.#env = environment;
    this.#preferred = read(environment.storage);
    environment.onChange(() => this.refresh());
  }

  get list() {
    return this.#list;
  }

  /** Asks the browser anew; after a permission was given it tells more. */
  async refresh() {
    const round = ++this.#round;
    /** @type {readonly { deviceId: string, kind: string, label: string }[]} */
    let found;
    try {
      found = await this.#env.list();
    } catch {
      return this.#list;
    }
    if (round !== this.#round) return this.#list;
    const of = (/** @type {string} */ kind) => Object.freeze(found
      .filter((device) => device.kind === kind && !PSEUDO.has(device.deviceId))
      .map((device) => Object.freeze({ id: device.deviceId, label: device.label })));
    this.#list = Object.freeze({
      microphone: of('audioinput'), camera: of('videoinput'), speaker: of('audiooutput'),
      labelled: found.some((device) => device.label !== ''),
    });
    this.emit('change', this.#list);
    return this.#list;
  }

  /** What the person prefers, whether it is there or not; `null` leaves it to the system. @param {BookKind} kind */
  preferred(kind) {
    return this.#preferred[kind] ?? null;
  }

  /** Id of the preferred device if it is there, or if nothing is known about what is there. @param {BookKind} kind */
  resolve(kind) {
    const wanted = this.#preferred[kind];
    if (!wanted) return null;
    const here = this.#list[kind];
    if (here.length === 0) return wanted.id;
    return find(here, wanted)?.id ?? null;
  }

  /** The device as it is listed now; `null` if it is not there. @param {BookKind} kind @param {Entry} device */
  find(kind, device) {
    return find(this.#list[kind], device);
  }

  /** @param {BookKind} kind @param {string} id the empty text leaves it to the system */
  prefer(kind, id) {
    const entry = this.#list[kind].find((device) => device.id === id);
    if (entry) this.#preferred = { ...this.#preferred, [kind]: entry };
    else this.#preferred = Object.fromEntries(Object.entries(this.#preferred).filter(([name]) => name !== kind));
    try {
      this.#env.storage?.setItem(KEY, JSON.stringify(this.#preferred));
    } catch {
      // Storage that is full or forbidden: the choice lasts as long as the page.
    }
    this.emit('change', this.#list);
  }

  /** Adds a speaker that the browser's own picker gave: it may not be listed yet. @param {Entry} speaker */
  addSpeaker(speaker) {
    if (!this.#list.speaker.some((other) => other.id === speaker.id)) {
      this.#list = Object.freeze({ ...this.#list, speaker: Object.freeze([...this.#list.speaker, Object.freeze({ ...speaker })]) });
    }
    this.prefer('speaker', speaker.id);
  }
}

/** By id and label, then by id, then by label. @param {readonly Entry[]} list @param {Entry} wanted */
function find(list, wanted) {
  return list.find((device) => device.id === wanted.id)
    ?? (wanted.label === '' ? null : list.find((device) => device.label === wanted.label)) ?? null;
}

/** @param {BookEnvironment['storage']} from @returns {Partial<Record<BookKind, Entry>>} */
function read(from) {
  try {
    const kept = JSON.parse(from?.getItem(KEY) ?? '{}');
    /** @type {Partial<Record<BookKind, Entry>>} */
    const preferred = {};
    for (const kind of /** @type {const} */ (['microphone', 'camera', 'speaker'])) {
      const entry = kept?.[kind];
      if (typeof entry?.id === 'string' && typeof entry.label === 'string') preferred[kind] = { id: entry.id, label: entry.label };
    }
    return preferred;
  } catch {
    return {};
  }
}

function storage() {
  try {
    return globalThis.localStorage ?? null;
  } catch {
    return null;
  }
}
