//! The room in virtual time, behind links that lose, reorder and duplicate.

mod forwarding;
mod hostile;
mod keyframes;
mod repair;
mod reports;
mod world;
