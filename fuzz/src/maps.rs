//! `/proc/PID/maps` and `smaps`.

use crate::input::Input;
use invar::__fuzz as runtime;
use invar_tool::process::{Mapping, private};
use std::collections::BTreeMap;
use std::ops::Range;

/// The bytes as either file; and lines that the kernel could have written, by the bytes.
pub fn run(input: &[u8]) {
    // Anything.
    runtime::maps(input, &mut |_, _, _| ());
    let sums = private(input);
    for mapping in input.split(|&byte| byte == b'\n').filter_map(Mapping::parse) {
        let again = Mapping::parse(&written(&mapping)).expect("what was read before");
        assert_eq!(again, mapping);
    }
    let starts = input.split(|&byte| byte == b'\n').filter_map(Mapping::parse).map(|mapping| mapping.range.start);
    let starts: Vec<_> = starts.collect();
    assert!(sums.keys().all(|start| starts.contains(start)));
    told_by_the_kernel(&mut Input(input));
}

/// Lines as Linux 6 and 7 write them.
pub fn seeds() -> Vec<Vec<u8>> {
    let maps = b"559f1c400000-559f1c402000 r--p 00000000 08:01 1179 /usr/bin/a-b c\n\
        559f1c402000-559f1c500000 r-xp 00002000 08:01 1179 /usr/bin/line\\012feed (deleted)\n\
        559f1c500000-559f1c501000 rw-s 00000000 00:00 0\n\
        7f0000000000-7f0000001000 r-xp 00000000 00:01 7 /memfd:invar (deleted)\n\
        ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n";
    let smaps = b"559f1c402000-559f1c500000 r-xp 00002000 08:01 1179 /usr/bin/x\n\
        Size: 1016 kB\nRss: 64 kB\nAnonymous: 8 kB\nSwap: 18446744073709551615 kB\nVmFlags: rd ex\n\
        7f0000000000-7f0000001000 r-xp 00000000 00:01 7 /memfd:invar (deleted)\n\
        Rss: 4 kB\nAnonymous: 4 kB\nSwap: x kB\n";
    let described = (0..120_u8).map(|at| at.wrapping_mul(91)).collect();
    vec![maps.to_vec(), smaps.to_vec(), described, b"-\n- x".to_vec()]
}

/// The line of a mapping, as the kernel writes it.
fn written(Mapping { range, offset, executable, path }: &Mapping) -> Vec<u8> {
    let execute = if *executable { 'x' } else { '-' };
    let inode = if path.is_some() { 7 } else { 0 };
    let mut line =
        format!("{:08x}-{:08x} r-{execute}p {offset:08x} 08:01 {inode}", range.start, range.end).into_bytes();
    if let Some(path) = path {
        line.resize(line.len().max(72), b' ');
        line.push(b' ');
        for byte in path {
            match byte {
                b'\n' => line.extend(b"\\012"),
                byte => line.push(*byte),
            }
        }
    }
    line
}

/// Mappings by an input: the runtime and the command see them all, and what of them is private.
fn told_by_the_kernel(input: &mut Input<'_>) {
    let mut text = Vec::new();
    let mut mappings: Vec<(Range<u64>, u8, Option<Vec<u8>>)> = Vec::new();
    let mut sums = BTreeMap::<u64, u64>::new();
    let mut start = 0_u64;
    while !input.0.is_empty() {
        let rights = input.byte();
        start += (u64::from(input.half()) + 1) << 12;
        let range = start..start + ((u64::from(input.byte()) + 1) << 12);
        start = range.end;
        // Paths have no line feed of their own in a line, nor begin with what is skipped before them.
        let path = input.bytes(usize::from(rights >> 4)).iter().map(|&byte| byte.max(b'!'));
        let path = (rights >> 4 != 0).then(|| [b"/", &path.collect::<Vec<_>>()[..]].concat());
        let right = |bit: u8, letter: char| if rights & bit != 0 { letter } else { '-' };
        let shared = if rights & 8 != 0 { 's' } else { 'p' };
        let (r, w, x) = (right(1, 'r'), right(2, 'w'), right(4, 'x'));
        let inode = path.is_some() as u8;
        text.extend(format!("{:08x}-{:08x} {r}{w}{x}{shared} 00000000 08:01 {inode}", range.start, range.end).bytes());
        text.extend(b"                    ");
        text.extend(path.iter().flatten());
        let (resident, own) = (u64::from(input.byte()), u64::from(input.byte()));
        text.extend(format!("\nSize: 4 kB\nRss: {resident:>8} kB\nAnonymous:  {own} kB\nSwap: 1 kB\n").bytes());
        let is_memory = path.as_ref().is_some_and(|path| path.starts_with(b"/memfd:"));
        sums.insert(range.start, if is_memory { resident } else { own + 1 });
        mappings.push((range, rights, path));
    }
    assert_eq!(private(&text), sums);
    let lines =
        text.split(|&byte| byte == b'\n').filter(|line| line.first().is_some_and(|byte| !byte.is_ascii_uppercase()));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), mappings.len());
    let mut seen = Vec::new();
    let mut maps = lines.join(&b'\n');
    maps.push(b'\n');
    runtime::maps(&maps, &mut |range, protection, shared| seen.push((range, protection, shared)));
    if mappings.is_empty() {
        return;
    }
    assert_eq!(seen.len(), mappings.len());
    for ((line, seen), (range, rights, path)) in lines.iter().zip(seen).zip(&mappings) {
        let mapping = Mapping::parse(line).expect("a mapping");
        assert_eq!((&mapping.range, mapping.executable), (range, rights & 4 != 0));
        // A line feed is written in four characters, and these may also be in a path as they are: nobody can tell.
        let plain = path.as_ref().is_none_or(|path| !path.windows(4).any(|four| four == b"\\012"));
        assert!(!plain || mapping.path == *path, "{mapping:?}");
        let protection = [(1, libc::PROT_READ), (2, libc::PROT_WRITE), (4, libc::PROT_EXEC)];
        let protection = protection.iter().filter(|(bit, _)| rights & bit != 0).map(|(_, right)| right).sum();
        assert_eq!(seen, (range.start as usize..range.end as usize, protection, rights & 8 != 0));
    }
}
