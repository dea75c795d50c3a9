//! The counting form of slice sites: what becomes of requests, and how long critical sections are.
//!
//! It is the checked form: with the time slice key on, that one reaches the cold path of each site, and so an observer
//! ([`watch`]) that does what the site would have done and counts it in a table ([`table`]). Nothing else in the code knows
//! of it; where it was not chosen, it costs a compare on a path that was cold already.

pub(super) mod counting;
pub(super) mod counts;
pub(super) mod load;
mod table;
pub(super) mod watch;
