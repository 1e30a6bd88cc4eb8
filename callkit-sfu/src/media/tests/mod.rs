//! The room in virtual time, behind links that lose, reorder and duplicate.

mod adaptation;
mod call;
mod forwarding;
mod hidden;
mod hostile;
mod keyframes;
mod network;
mod quality;
mod repair;
mod reports;
mod world;
