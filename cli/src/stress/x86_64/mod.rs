//! The stress test's own process.
//!
//! | module | what it does |
//! |---|---|
//! | `rounds` | has the sites exchanged, again and again |
//! | `workers` | the threads that execute sites, and what must be right |
//! | `text` | the sites, and the code around them |
//! | `loaded` | the text in memory, and the ways to exchange it |
//! | `call` | goes through sites with known registers |
//! | `stand` | has threads stand inside a site, and sees faults |

mod call;
mod loaded;
mod rounds;
mod stand;
mod text;
mod workers;

pub(super) use rounds::run;
