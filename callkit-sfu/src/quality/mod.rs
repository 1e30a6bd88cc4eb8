//! How people's connections do: counters become figures, figures become a level, a score and a cause.
//! Without I/O, without a clock; docs/quality.md has the formulas, thresholds and their sources.
//!
//! | module | owns |
//! |---|---|
//! | [`figures`] | the vocabulary: what is measured per participant and track, what a page reports |
//! | [`meter`] | counters of the media engine turned into figures of an interval |
//! | [`score`] | the score of one track |
//! | [`findings`] | what is wrong with one person's media, and whose fault it is |
//! | [`hold`] | when a changed level is told |
//! | [`call`] | everybody in a call: from figures and reports to assessments |
//! | [`timeline`] | which assessments are kept with the call |

pub mod call;
pub mod figures;
pub mod findings;
pub mod hold;
pub mod meter;
pub mod score;
pub mod timeline;

pub use call::{Assessment, CallQuality, TooSoon, TrackScore};
pub use figures::{Quality, ReceivedFigures, Report, SentFigures, TrackQuality, Way};
pub use meter::Meter;
pub use timeline::Timeline;
