// Names of the events that elements send: requests, confirmed by the state that comes back as attributes.

export const ELEMENT_EVENTS = Object.freeze({
  microphone: 'callkit-microphone-request',
  camera: 'callkit-camera-request',
  screen: 'callkit-screen-request',
  chat: 'callkit-chat-request',
  end: 'callkit-end-request',
  send: 'callkit-send-request',
  retry: 'callkit-retry-request',
  accept: 'callkit-accept-request',
  decline: 'callkit-decline-request',
  muteRing: 'callkit-mute-ring-request',
  presence: 'callkit-presence-request',
  devices: 'callkit-devices-request',
  chooseDevice: 'callkit-device-request',
  pickSpeaker: 'callkit-pick-speaker-request',
  tryNow: 'callkit-try-request',
  audioOnly: 'callkit-audio-only-request',
  copyReport: 'callkit-copy-report-request',
  sound: 'callkit-sound-request',
  firstFrame: 'callkit-first-frame',
});
