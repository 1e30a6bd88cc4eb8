// Camera and microphone: opening them with the best that the person allows, and saying what is wrong when not.

import { CallkitError } from './errors.js';

/** What we ask the camera for: the largest layer of the layout; a camera that cannot gives what it has. */
const VIDEO = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };
/** Pictures in the size that the device makes them in. */
const RAW_VIDEO = { resizeMode: { ideal: 'none' }, frameRate: VIDEO.frameRate };
const AUDIO = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
/** Sound as it is, for tests that compare tones. */
const RAW_AUDIO = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

/**
 * @typedef {'microphone' | 'camera'} DeviceKind
 *
 * @typedef {object} Capture
 * @property {MediaStreamTrack | null} microphone
 * @property {MediaStreamTrack | null} camera
 * @property {CallkitError | null} cameraProblem why there is no camera
 *
 * @typedef {object} Devices what is used of `navigator.mediaDevices`
 * @property {(constraints: MediaStreamConstraints) => Promise<MediaStream>} getUserMedia
 * @property {() => Promise<readonly Pick<MediaDeviceInfo, 'deviceId' | 'kind' | 'label' | 'groupId'>[]>} [enumerateDevices]
 *
 * @typedef {{ microphone?: string, camera?: string }} Chosen device ids; what is left out is the system's choice
 * @typedef {{ raw?: boolean, devices?: Devices, permission?: typeof permission }} Surroundings
 */

/**
 * Opens microphone and camera with one question to the person. A missing or refused camera leaves an audio call;
 * a missing microphone is an error. A chosen device that is not there is replaced by the system's choice.
 *
 * @param {{ video: boolean, chosen?: Chosen } & Surroundings} options
 * @returns {Promise<Capture>}
 * @throws {CallkitError} `permission_denied`, `permission_dismissed`, `permission_system`, `not_found`, `in_use`,
 *   `policy_blocked`, `capture_failed`
 */
export async function openCapture({ video, chosen = {}, ...around }) {
  const { devices = usual(), raw = false, permission: ask = permission } = around;
  if (!devices?.getUserMedia) throw noCapture('microphone');
  const audio = { ...(raw ? RAW_AUDIO : AUDIO), ...wish(chosen.microphone) };
  /** @type {CallkitError | null} */
  let cameraProblem = null;
  if (video) {
    try {
      return split(await devices.getUserMedia({ audio, video: { ...(raw ? RAW_VIDEO : VIDEO), ...wish(chosen.camera) } }), null);
    } catch (error) {
      cameraProblem = await captureError(error, 'camera', ask);
      // The person said no to the microphone too: asking again at once would be rude and useless.
      const refused = cameraProblem.code.startsWith('permission_');
      if (refused && (cameraProblem.code === 'permission_dismissed' || (await ask('microphone')) === 'denied')) {
        throw await captureError(error, 'microphone', ask);
      }
      if (cameraProblem.code === 'policy_blocked' && isBlocked('microphone')) throw cameraProblem;
    }
  }
  try {
    const capture = split(await devices.getUserMedia({ audio }), cameraProblem);
    // One question for both fails as a whole; with the microphone known to work, the camera alone may still open.
    if (cameraProblem && cameraProblem.code === 'in_use') {
      capture.camera = await openOne('camera', { ...around, ...(chosen.camera ? { id: chosen.camera } : {}) }).catch(() => null);
      if (capture.camera) capture.cameraProblem = null;
    }
    return capture;
  } catch (error) {
    throw await captureError(error, 'microphone', ask);
  }
}

/**
 * Opens one device.
 *
 * @param {DeviceKind} kind
 * @param {{ id?: string, exact?: boolean } & Surroundings} [options] `exact`: that device or none
 * @returns {Promise<MediaStreamTrack>}
 * @throws {CallkitError}
 */
export async function openOne(kind, { id, exact = false, ...around } = {}) {
  const { devices = usual(), raw = false, permission: ask = permission } = around;
  if (!devices?.getUserMedia) throw noCapture(kind);
  const which = id ? { deviceId: exact ? { exact: id } : { ideal: id } } : {};
  try {
    const stream = await devices.getUserMedia(kind === 'camera'
      ? { video: { ...(raw ? RAW_VIDEO : VIDEO), ...which } } : { audio: { ...(raw ? RAW_AUDIO : AUDIO), ...which } });
    const [track] = stream.getTracks();
    if (track) return track;
  } catch (error) {
    throw await captureError(error, kind, ask);
  }
  throw new CallkitError('not_found', { retryable: true, device: kind });
}

/**
 * What the browser's exception means for the person. `NotAllowedError` has four causes that need different help; they
 * are told apart by the text of the exception (Chromium) and by the state of the permission.
 *
 * @param {unknown} error
 * @param {DeviceKind | 'screen'} device
 * @param {typeof permission} [ask]
 */
export async function captureError(error, device, ask = permission) {
  const name = error instanceof Error || error instanceof DOMException ? error.name : '';
  const said = error instanceof Error || error instanceof DOMException ? error.message : '';
  let code = CODES[name] ?? 'capture_failed';
  if (name === 'NotAllowedError') {
    if (/system/i.test(said)) code = 'permission_system';
    else if (isBlocked(device)) code = 'policy_blocked';
    else if (/dismissed/i.test(said) || (await ask(device)) === 'prompt') code = 'permission_dismissed';
  }
  return new CallkitError(code, { cause: error, retryable: true, message: String(error), device });
}

/** Names of getUserMedia's exceptions (Media Capture and Streams, section 10.2). @type {Record<string, string>} */
const CODES = {
  NotAllowedError: 'permission_denied',
  NotFoundError: 'not_found',
  OverconstrainedError: 'not_found',
  NotReadableError: 'in_use',
  AbortError: 'in_use',
  SecurityError: 'policy_blocked',
  TypeError: 'policy_blocked',
  InvalidStateError: 'gesture_required',
};

/**
 * Asks for a screen. Has to be called first thing in a click handler.
 *
 * @returns {Promise<MediaStream | null>} `null` if the person thought better of it
 * @throws {CallkitError}
 */
export function pickScreen() {
  return navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: 15, max: 30 } }, audio: true }).catch(async (error) => {
    if (error?.name === 'NotAllowedError') return null;
    throw await captureError(error, 'screen');
  });
}

/** @returns {Devices | undefined} */
function usual() {
  return globalThis.navigator?.mediaDevices;
}

/** @param {string | undefined} id */
function wish(id) {
  return id ? { deviceId: { ideal: id } } : {};
}

/** @param {DeviceKind} device */
function noCapture(device) {
  return new CallkitError('policy_blocked', { message: 'no capture on this origin', device });
}

/** @param {MediaStream} stream @param {CallkitError | null} cameraProblem @returns {Capture} */
function split(stream, cameraProblem) {
  const microphone = stream.getAudioTracks()[0] ?? null;
  const camera = stream.getVideoTracks()[0] ?? null;
  return { microphone, camera, cameraProblem };
}

/** Whether the page that embeds us withholds the device (Permissions Policy); only Chromium tells. @param {DeviceKind | 'screen'} device */
function isBlocked(device) {
  const page = /** @type {any} */ (globalThis.document);
  const policy = page?.permissionsPolicy ?? page?.featurePolicy;
  try {
    return policy?.allowsFeature?.(device === 'screen' ? 'display-capture' : device) === false;
  } catch {
    return false;
  }
}

/** @param {string} name @returns {Promise<PermissionState | 'unknown'>} */
export async function permission(name) {
  try {
    return (await navigator.permissions.query({ name: /** @type {PermissionName} */ (name) })).state;
  } catch {
    return 'unknown';
  }
}
