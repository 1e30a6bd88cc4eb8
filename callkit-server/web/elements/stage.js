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
 * @property {'connecting' | 'up' | 'reconnecting'} link
 *
 * @typedef {object} SelfView
 * @property {MediaStreamTrack | null} camera
 * @property {boolean} cameraOn
 * @property {boolean} microphoneOn
 * @property {boolean} screenOn
 *
 * @typedef {{ self: SelfView, remotes: readonly RemoteView[], notice: string }} StageView
 *
 * @typedef {object} Tile
 * @property {HTMLElement} root
 * @property {HTMLVideoElement} video
 * @property {HTMLElement} avatar
 * @property {HTMLElement} name
 * @property {HTMLElement} muted
 * @property {HTMLAudioElement} voice
 * @property {HTMLVideoElement} screen
 * @property {HTMLElement} screenRoot
 * @property {HTMLElement} screenName
 * @property {HTMLAudioElement} screenAudio
 */

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
    setAttribute(this.#selfMuted, 'hidden', self.microphoneOn);
    setAttribute(this.#selfMuted, 'title', t('muted'));
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
    const screens = remotes.filter((remote) => remote.media.screen).length;
    setAttribute(this.#grid, 'data-tiles', remotes.length);
    setAttribute(this.#grid, 'data-screen', screens > 0);
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
      tile = this.#makeTile(remote.id);
      this.#tiles.set(remote.id, tile);
    }
    const suffix = index === 0 ? '' : `-${index + 1}`;
    setAttribute(tile.video, 'data-ck', `remote-video${suffix}`);
    setAttribute(tile.screen, 'data-ck', `screen-video${suffix}`);
    setAttribute(tile.video, 'aria-label', t('remote-video', { name: remote.name }));
    setAttribute(tile.screen, 'aria-label', t('screen-of', { name: remote.name }));
    const cameraOn = remote.media.camera && remote.slot !== null;
    const lost = remote.link === 'reconnecting';
    setAttribute(tile.root, 'data-camera', cameraOn);
    setAttribute(tile.root, 'data-lost', lost);
    setText(tile.avatar, initials(remote.name));
    setText(tile.name, remote.name);
    setAttribute(tile.muted, 'hidden', remote.media.microphone);
    setAttribute(tile.muted, 'title', t('muted'));
    setText(tile.screenName, t('screen-of', { name: remote.name }));
    setAttribute(tile.screenRoot, 'hidden', !remote.media.screen);

    const slot = remote.slot;
    this.#attach(tile.video, slot?.camera ?? null);
    this.#attach(tile.voice, slot?.voice ?? null);
    // Only while it is shared: an idle player would hold on to a decoder.
    this.#attach(tile.screen, remote.media.screen ? slot?.screen ?? null : null);
    this.#attach(tile.screenAudio, remote.media.screen ? slot?.screenAudio ?? null : null);
  }

  /** @param {string} participant @returns {Tile} */
  #makeTile(participant) {
    const video = h('video', { autoplay: true, playsinline: true });
    const screen = h('video', { autoplay: true, playsinline: true });
    // The voice comes from its own player; a muted video needs no permission to play.
    video.muted = screen.muted = true;
    const voice = h('audio', { autoplay: true });
    const screenAudio = h('audio', { autoplay: true });
    const avatar = h('div', { class: 'avatar', 'aria-hidden': 'true' });
    const name = h('span', { class: 'plate-name' });
    const muted = h('span', { class: 'mark', hidden: true }, icon('microphone-off'));
    const root = h('div', { class: 'tile' }, video, avatar, h('div', { class: 'plate' }, muted, name), voice);
    const screenName = h('span', { class: 'plate-name' });
    const screenRoot = h('div', { class: 'tile screen', hidden: true }, screen,
      h('div', { class: 'plate' }, icon('screen'), screenName), screenAudio);
    this.#grid.append(screenRoot, root);
    let told = false;
    const shown = () => {
      if (told) return;
      told = true;
      this.request(ELEMENT_EVENTS.firstFrame, { participant });
    };
    if ('requestVideoFrameCallback' in video) video.requestVideoFrameCallback(shown);
    else /** @type {HTMLVideoElement} */ (video).addEventListener('loadeddata', shown, { once: true });
    return { root, video, avatar, name, muted, voice, screen, screenRoot, screenName, screenAudio };
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
