// All event names of the client, in one place. Element events are in elements/events.js.

/** What {@link import('./index.js').Client} emits. */
export const CLIENT_EVENTS = Object.freeze({
  /** The signaling connection changed its state. */
  connectionChange: 'connection-change',
  /** The store has a new snapshot. */
  change: 'change',
  /** Staff: a call rings. */
  offer: 'offer',
  /** Staff: it rings no longer. */
  offerClosed: 'offer-closed',
  /** The call ended. */
  callEnd: 'call-end',
  /** Streams of a receiving slot were replaced. */
  slotsChange: 'slots-change',
  /** A local device stopped or failed. */
  captureFailure: 'capture-failure',
  /** A device went away in mid-call; something else is used, or nothing. */
  deviceLost: 'device-lost',
  /** A device that went away is there again. */
  deviceBack: 'device-back',
  /** A line of chat arrived from the other side. */
  message: 'message',
});
