#[macro_use]
mod sites;

program!("1000");
