//! For tests: tables of the documentation that give layouts, to be compared with the code's.

use std::string::String;
use std::vec::Vec;

pub(crate) const SITE_ABI: &str = include_str!("../docs/site-abi.md");
#[cfg(feature = "profile")]
pub(crate) const PROFILE: &str = include_str!("../docs/profile.md");

/// The cells of the first table behind this heading, row by row.
pub(crate) fn table<'a>(document: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let (_, behind) = document.split_once(heading).unwrap_or_else(|| panic!("no {heading:?}"));
    let rows = behind.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |row: &'a str| row.trim_matches('|').split('|').map(str::trim).collect();
    // The first two lines are not of the data.
    rows.skip(2).map(cells).collect()
}

/// Fails unless the table has these fields, by name, offset and size, and they lie side by side, with all that it lists without a
/// name, up to the end.
///
/// A row may have several offsets: that of the field, and those of the numbers of eight bytes that follow in it.
pub(crate) fn assert_layout(document: &str, heading: &str, fields: &[(&str, usize, usize)], whole: usize) {
    let rows = table(document, heading);
    let has_sizes = {
        let (_, behind) = document.split_once(heading).unwrap();
        behind.lines().find(|line| line.starts_with('|')).unwrap().contains("| size |")
    };
    let mut listed: Vec<(String, usize, Option<usize>)> = Vec::new();
    for row in &rows {
        let offsets: Vec<usize> = row[0].split(", ").map(|offset| offset.parse().expect("an offset")).collect();
        assert!(offsets.windows(2).all(|pair| pair[1] == pair[0] + 8), "{row:?}");
        let size = match has_sizes {
            true => Some(row[1].parse().expect("a size")),
            false => (offsets.len() > 1).then_some(8 * offsets.len()),
        };
        listed.push((row[1 + usize::from(has_sizes)].into(), offsets[0], size));
    }
    for (at, (name, offset, size)) in listed.iter().enumerate() {
        let end = listed.get(at + 1).map_or(whole, |next| next.1);
        assert!(*offset < end && (!has_sizes || offset + size.unwrap() == end), "{heading}: {name} ends at {end}");
    }
    let named = listed.iter().filter(|(name, ..)| !name.is_empty());
    let named: Vec<_> = named.map(|(name, offset, size)| (name.as_str(), *offset, *size)).collect();
    let expected: Vec<_> = fields
        .iter()
        .map(|&(name, offset, size)| {
            let is_given = has_sizes || named.iter().any(|known| known.0 == name && known.2.is_some());
            (name, offset, is_given.then_some(size))
        })
        .collect();
    assert_eq!(named, expected, "{heading}");
}

/// Name, offset and size of these fields of a structure, in this order.
macro_rules! fields {
    ($type:ty: $($field:ident)*) => {{
        [$((stringify!($field), core::mem::offset_of!($type, $field), {
            fn size_of_field<T>(_: impl Fn(&$type) -> &T) -> usize {
                size_of::<T>()
            }
            size_of_field(|whole| &whole.$field)
        })),*]
    }};
}
pub(crate) use fields;
