//! A select without sites.

/// No site: by the state byte.
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    ($state:path, $count:expr, [$([$number:literal $values:expr, $block:block])*], $first:expr, $otherwise:expr) => {
        $otherwise
    };
}
