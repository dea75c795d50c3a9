#[macro_use]
#[path = "../../crowd/src/sites.rs"]
mod sites;

program!("10");
