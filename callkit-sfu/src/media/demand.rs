//! What the receivers of a publisher can use: told to its browser, so that it does not encode and send
//! what nobody gets.

/// What a publisher should send. Rates are in bits per second, without retransmission.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demand {
    /// The camera.
    pub camera: CameraDemand,
    /// The shared screen.
    pub screen: ScreenDemand,
}

/// What a publisher should send of its camera.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CameraDemand {
    /// The rids of the simulcast layers that somebody needs, in negotiated order (lowest first). A camera
    /// without simulcast has one layer, `h`. Empty if nobody's connection takes a picture.
    pub layers: Vec<String>,
    /// Most that the needed layers may take together; for a single receiver what its connection takes.
    pub max_bitrate: u64,
}

/// What a publisher should send of its screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScreenDemand {
    /// Whether anybody's connection takes a screen.
    pub send: bool,
    /// Most that it may take.
    pub max_bitrate: u64,
}

/// The name of the only layer of a camera without simulcast.
pub(super) const ONLY_LAYER: &str = "h";
