//! L3: the loop one turn at a time, for tests.

use std::time::Duration;

use mio::Events;

use super::ReactorError;
use super::lookup::LookUp;
use super::reactor::{EVENTS, Reactor};
use crate::server::Server;

#[doc(hidden)]
impl Reactor {
    /// One turn of [`Reactor::run`], which sleeps for `most` at most.
    pub fn turn_once(&mut self, most: Duration) -> Result<(), ReactorError> {
        self.turn(&mut Events::with_capacity(EVENTS), Some(most))
    }

    /// The core that it drives.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Names are looked up by this from now on, and not by the system.
    pub fn look_up_with(&mut self, look_up: LookUp) {
        self.dials.look_up_with(look_up);
    }
}
