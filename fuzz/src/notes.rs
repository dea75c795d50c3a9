//! A note segment: what leads to a module's header.

use crate::make::{Description, at, put};
use invar_abi::{machine, note};
use invar_tool::elf::Headers;
use invar_tool::file::Bytes;
use invar_tool::module::Module;

/// As long is the longest segment that the command looks through to its end.
const MOST: usize = 4096 * note::Head::LENGTH;

/// The bytes as a note segment: as many as are whole words.
pub fn run(input: &[u8]) {
    let words: Vec<u32> = input[..input.len().min(MOST)].chunks_exact(4).map(word).collect();
    let notes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut memory = module(&notes);
    let file = at::END as u64;
    // Where they stand here, and where the file has them.
    let leads_to = note::leads_to(&words);
    let leads_to = leads_to.map(|address| (address as u64).wrapping_sub(words.as_ptr() as u64).wrapping_add(file));
    let other = note::other_version(&words);

    let command = |memory: &[u8]| {
        let image = Bytes(memory);
        let headers = Headers::read(&image, 0).expect("headers");
        Module::read(&image, 0, &headers).map(|module| module.map(|module| module.note_was_moved))
    };
    match (command(&memory), leads_to) {
        (Ok(Some(was_moved)), Some(address)) => assert_eq!(was_moved, address != at::HEADER as u64, "{address:#x}"),
        (Ok(None), None) => assert_eq!(other, None),
        // It looks through all of them, and the runtime has found the first.
        (Err(why), None) => {
            assert!(other.is_some() && why.contains("of an ABI version that this command does not know"), "{why}");
        }
        (command, runtime) => panic!("the command: {command:?}, the runtime: {runtime:x?}"),
    }
    // The first that leads on counts: nothing behind it does.
    if let Some(length) = (0..=words.len()).find(|&length| note::leads_to(&words[..length]).is_some()) {
        put(&mut memory, at::END + 4 * length, &vec![0xff; notes.len() - 4 * length]);
        assert!(matches!(command(&memory), Ok(Some(_))));
    }
}

/// One note; others before and behind it; one of another version, and one that is cut off.
pub fn seeds() -> Vec<Vec<u8>> {
    let one = |owner: &[u8], kind: u32, descriptor: &[u8]| {
        let mut bytes = Vec::new();
        for number in [owner.len() as u32, descriptor.len() as u32, kind] {
            bytes.extend(number.to_le_bytes());
        }
        for part in [owner, descriptor] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    };
    // It leads to the header if it stands first.
    let distance = (at::HEADER as u32).wrapping_sub(at::END as u32 + 20);
    let right = [distance.to_le_bytes(), [0; 4]].concat();
    let ours = one(note::OWNER, note::VERSION, &right);
    let gnu = one(b"GNU\0", 3, &[7; 20]);
    vec![
        ours.clone(),
        [gnu.clone(), ours.clone(), gnu.clone()].concat(),
        [one(note::OWNER, 1, &[0; 8]), gnu].concat(),
        [one(note::OWNER, 3, &[1; 12]), ours.clone()].concat(),
        [one(b"a", 1, &[1; 3]), one(b"", 1, &[]), ours.clone()].concat(),
        one(b"a", 1, &[1; 3]),
        ours[..24].to_vec(),
    ]
}

/// A module whose notes are these, behind all else.
fn module(notes: &[u8]) -> Vec<u8> {
    let mut memory = Description::default().memory(machine::X86_64);
    // The last program header, of the stack, is of no use here: a segment for the notes.
    let fields = [at::END as u64, at::END as u64, at::END as u64, notes.len() as u64, notes.len() as u64, 4];
    for (index, kind) in [(3, 4_u32), (5, 1)] {
        let header = at::PROGRAM + 56 * index;
        put(&mut memory, header, &kind.to_le_bytes());
        put(&mut memory, header + 4, &4_u32.to_le_bytes());
        put(&mut memory, header + 8, &fields.map(u64::to_le_bytes).concat());
    }
    memory.extend(notes);
    memory
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}
