// <callkit-stage>: the call window. Others large, oneself small in the corner, a shared screen before everything.
// It plays what arrives: pictures muted (they may always play), sound by separate players.

import { t } from '../i18n/index.js';
import { CallkitElement, h, setAttribute, setText } from './base.js';
import { ELEMENT_EVENTS } from './events.js';
import { icon } from './icons.js';
import { STAGE_STYLE } from './stage.styles.js';

/**
 * @typedef {object} RemoteView
 * @property {string} id
 * @property {string} name
 * @property {import('../client/media.js').Slot | null} slot
 * @property {import('../client/protocol.js').MediaState} media
 * @property {string} lost what stands over a picture that is dimmed because the connection is lost; empty: it is not
 * @property {boolean} paused the picture is stopped to keep the sound whole
 * @property {boolean} [compact] heard only: a name on the edge instead of a tile
 *
 * @typedef {object} SelfView
 * @property {MediaStreamTrack | null} camera
 * @property {boolean} cameraOn
 * @property {import('../client/protocol.js').DeviceState} microphone
 * @property {boolean} screenOn
 * @property {boolean} [hidden] nothing of oneself is shown to anybody
 *
 * @typedef {{ self: SelfView, remotes: readonly RemoteView[], notice: string }} StageView
 *
 * @typedef {object} Tile
 * @property {HTMLElement} root
 * @property {HTMLVideoElement} video
 * @property {HTMLElement} avatar
 * @property {HTMLElement} name
 * @property {HTMLElement} muted
 * @property {HTMLElement} device why there is no sound or picture, if it was not the person's choice
 * @property {HTMLElement} note
 * @property {HTMLElement} noteText
 * @property {RemoteView} view
 * @property {number} frameAt when the last picture was shown, `performance.now()`; 0 before the first one
 * @property {HTMLAudioElement} voice
 * @property {HTMLVideoElement} screen
 * @property {HTMLElement} screenRoot
 * @property {HTMLElement} screenName
 * @property {HTMLAudioElement} screenAudio
 */

/** A camera picture that stands still for this long is said to, milliseconds. */
const STALLED_MS = 3000;

/**
 * @fires callkit-first-frame `{ participant }`: a first picture of somebody is shown
 * @fires callkit-sound-request `{ blocked }`: the browser did (not) let the sound play
 */
export class CallkitStage extends CallkitElement {
  static styles = [STAGE_STYLE];

  #grid = h('div', { class: 'grid' });
  #selfVideo = h('video', { 'data-ck': 'self-video', autoplay: true, playsinline: true });
  #selfMuted = h('span', { class: 'mark', hidden: true }, icon('microphone-off'));
  #self = h('div', { class: 'self' }, this.#selfVideo, h('div', { class: 'self-off' }, icon('camera-off')), this.#selfMuted);
  #noticeText = h('span', {});
  #notice = h('div', { class: 'notice', hidden: true }, this.#noticeText);
  #sharing = h('div', { class: 'sharing', hidden: true });
  /** @type {Map<string, Tile>} */
  #tiles = new Map();
  /** @type {Set<HTMLMediaElement>} */
  #blocked = new Set();
  #speaker = '';

  /** @override @param {ShadowRoot} root */
  build(root) {
    this.#selfVideo.muted = true;
    setAttribute(this.#selfVideo, 'aria-label', t('self-view'));
    setText(this.#sharing, t('sharing-screen'));
    root.append(this.#grid, this.#self, this.#sharing, this.#notice);
  }

  /** @param {StageView} view */
  show({ self, remotes, notice }) {
    setStream(this.#selfVideo, self.camera ? [self.camera] : []);
    setAttribute(this.#self, 'data-camera', self.cameraOn);
    setAttribute(this.#self, 'hidden', self.hidden === true);
    setAttribute(this.#selfMuted, 'hidden', self.microphone === 'on');
    setAttribute(this.#selfMuted, 'title', t(self.microphone === 'on' ? 'muted' : `mic-${self.microphone}`));
    setAttribute(this.#sharing, 'hidden', !self.screenOn);
    setAttribute(this.#notice, 'hidden', notice === '');
    setText(this.#noticeText, notice);

    const present = new Set(remotes.map((remote) => remote.id));
    for (const [id, tile] of this.#tiles) {
      if (present.has(id)) continue;
      this.#discard(tile);
      this.#tiles.delete(id);
    }
    remotes.forEach((remote, index) => this.#showRemote(remote, index));
    this.tick();
    const screens = remotes.filter((remote) => remote.media.screen).length;
    setAttribute(this.#grid, 'data-tiles', remotes.filter((remote) => !remote.compact).length);
    setAttribute(this.#grid, 'data-screen', screens > 0);
  }

  /** Once per second: a picture that stands still is not a person who is silent. */
  tick() {
    const now = performance.now();
    for (const tile of this.#tiles.values()) {
      const { view } = tile;
      // A hidden page shows no frames.
      if (document.visibilityState !== 'visible') tile.frameAt = now;
      const isStalled = tile.frameAt > 0 && now - tile.frameAt > STALLED_MS;
      const hasPicture = tile.root.hasAttribute('data-camera');
      const text = view.lost || (view.paused && view.media.camera ? t('tile-paused') : isStalled && hasPicture ? t('tile-stalled') : '');
      setAttribute(tile.root, 'data-stalled', view.lost === '' && isStalled);
      setAttribute(tile.note, 'hidden', text === '');
      setText(tile.noteText, text);
    }
  }

  /** Plays the sound there, where the browser can. @param {string} id empty: what the system takes */
  setSpeaker(id) {
    if (id === this.#speaker) return;
    this.#speaker = id;
    for (const tile of this.#tiles.values()) for (const player of [tile.voice, tile.screenAudio]) this.#route(player);
  }

  /** @param {HTMLAudioElement} player */
  #route(player) {
    // A speaker that is gone is no reason for silence: the browser goes on with the system's.
    if (this.#speaker !== '' || 'sinkId' in player) player.setSinkId?.(this.#speaker).catch(() => {});
  }

  /** Tries again to play what the browser had blocked; call it in a click handler. */
  unblockSound() {
    for (const player of [...this.#blocked]) this.#play(player);
  }

  /** @override */
  disconnectedCallback() {
    super.disconnectedCallback();
    for (const tile of this.#tiles.values()) this.#discard(tile);
    this.#tiles.clear();
    this.#selfVideo.srcObject = null;
  }

  /** @param {RemoteView} remote @param {number} index */
  #showRemote(remote, index) {
    let tile = this.#tiles.get(remote.id);
    if (!tile) {
      tile = this.#makeTile(remote);
      this.#tiles.set(remote.id, tile);
    }
    const suffix = index === 0 ? '' : `-${index + 1}`;
    setAttribute(tile.video, 'data-ck', `remote-video${suffix}`);
    setAttribute(tile.screen, 'data-ck', `screen-video${suffix}`);
    setAttribute(tile.video, 'aria-label', t('remote-video', { name: remote.name }));
    setAttribute(tile.screen, 'aria-label', t('screen-of', { name: remote.name }));
    tile.view = remote;
    const { camera_state: camera, microphone_state: microphone } = remote.media;
    const cameraOn = remote.media.camera && camera !== 'muted_by_system' && remote.slot !== null && !remote.paused;
    const lost = remote.lost !== '';
    if (!cameraOn) tile.frameAt = 0;
    setAttribute(tile.root, 'data-camera', cameraOn);
    setAttribute(tile.root, 'data-lost', lost);
    // What still comes in fits and starts from a lost line frightens more than it tells.
    tile.voice.muted = lost;
    setAttribute(tile.root, 'data-compact', remote.compact === true);
    setText(tile.avatar, initials(remote.name));
    setText(tile.name, remote.name);
    const isHeard = remote.media.microphone && (microphone ?? 'on') === 'on';
    setAttribute(tile.muted, 'hidden', isHeard);
    const trouble = microphone === 'muted_by_system' || microphone === 'missing' ? `mic-${microphone}`
      : camera === 'muted_by_system' ? 'camera-muted_by_system' : '';
    setAttribute(tile.muted, 'title', t(trouble.startsWith('mic') ? trouble : 'muted'));
    setText(tile.device, trouble === '' ? '' : t(trouble));
    setAttribute(tile.device, 'hidden', trouble === '');
    setText(tile.screenName, t('screen-of', { name: remote.name }));
    setAttribute(tile.screenRoot, 'hidden', !remote.media.screen);

    const slot = remote.slot;
    this.#attach(tile.video, slot?.camera ?? null);
    this.#attach(tile.voice, slot?.voice ?? null);
    // Only while it is shared: an idle player would hold on to a decoder.
    this.#attach(tile.screen, remote.media.screen ? slot?.screen ?? null : null);
    this.#attach(tile.screenAudio, remote.media.screen ? slot?.screenAudio ?? null : null);
  }

  /** @param {RemoteView} view @returns {Tile} */
  #makeTile(view) {
    const video = h('video', { autoplay: true, playsinline: true });
    const screen = h('video', { autoplay: true, playsinline: true });
    // The voice comes from its own player; a muted video needs no permission to play.
    video.muted = screen.muted = true;
    const voice = h('audio', { autoplay: true });
    const screenAudio = h('audio', { autoplay: true });
    const avatar = h('div', { class: 'avatar', 'aria-hidden': 'true' });
    const name = h('span', { class: 'plate-name' });
    const muted = h('span', { class: 'mark', hidden: true }, icon('microphone-off'));
    const device = h('span', { class: 'plate-device', 'data-ck': 'device-note', hidden: true });
    const noteText = h('span', {});
    const note = h('div', { class: 'note', 'data-ck': 'tile-note', hidden: true }, noteText);
    const root = h('div', { class: 'tile' }, video, avatar, note, h('div', { class: 'plate' }, muted, name, device), voice);
    const screenName = h('span', { class: 'plate-name' });
    const screenRoot = h('div', { class: 'tile screen', hidden: true }, screen,
      h('div', { class: 'plate' }, icon('screen'), screenName), screenAudio);
    this.#grid.append(screenRoot, root);
    /** @type {Tile} */
    const tile = {
      root, video, avatar, name, muted, device, note, noteText, voice, screen, screenRoot, screenName, screenAudio, view, frameAt: 0,
    };
    let told = false;
    const shown = () => {
      tile.frameAt = performance.now();
      if (!told) this.request(ELEMENT_EVENTS.firstFrame, { participant: view.id });
      told = true;
      if ('requestVideoFrameCallback' in video) video.requestVideoFrameCallback(shown);
    };
    if ('requestVideoFrameCallback' in video) video.requestVideoFrameCallback(shown);
    else /** @type {HTMLVideoElement} */ (video).addEventListener('loadeddata', () => {
      shown();
      // Without frame callbacks nothing is known of later pictures.
      tile.frameAt = 0;
    }, { once: true });
    if (this.#speaker !== '') for (const player of [voice, screenAudio]) this.#route(player);
    return tile;
  }

  /** @param {Tile} tile */
  #discard(tile) {
    for (const player of [tile.video, tile.voice, tile.screen, tile.screenAudio]) {
      player.srcObject = null;
      this.#blocked.delete(player);
    }
    tile.root.remove();
    tile.screenRoot.remove();
  }

  /** @param {HTMLMediaElement} player @param {MediaStream | null} stream */
  #attach(player, stream) {
    if (player.srcObject === stream) return;
    player.srcObject = stream;
    if (stream) this.#play(player);
  }

  /** @param {HTMLMediaElement} player */
  #play(player) {
    player.play().then(
      () => {
        if (this.#blocked.delete(player) && this.#blocked.size === 0) this.request(ELEMENT_EVENTS.sound, { blocked: false });
      },
      (error) => {
        // Anything else is a player that was given another stream meanwhile.
        if (error?.name !== 'NotAllowedError') return;
        this.#blocked.add(player);
        this.request(ELEMENT_EVENTS.sound, { blocked: true });
      },
    );
  }
}

/** @param {HTMLVideoElement} video @param {MediaStreamTrack[]} tracks */
function setStream(video, tracks) {
  const present = video.srcObject instanceof MediaStream ? video.srcObject.getTracks() : [];
  if (present.length === tracks.length && tracks.every((track) => present.includes(track))) return;
  video.srcObject = tracks.length > 0 ? new MediaStream(tracks) : null;
}

/** @param {string} name */
function initials(name) {
  const words = name.trim().split(/\s+/).filter((word) => word !== '');
  return words.slice(0, 2).map((word) => [...word][0]?.toUpperCase() ?? '').join('');
}
