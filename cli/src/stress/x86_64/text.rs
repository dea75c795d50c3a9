//! The text of the stress test: a page for each way in which a site can lie across two pages, and beside that a site of every
//! sort at every offset in a cache line.
//!
//! A chain is a function that goes through about ten sites, and tells in `r11` what came of each: one bit, the first site's
//! highest. It changes no other register, and leaves the request byte at 0. What it does with the request byte between the
//! sites, it does by plain instructions, which are never exchanged.

use invar_abi::{Code, Kind, Site, x86_64};
use std::ops::Range;

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;
/// Bytes of a page; this machine has no other.
pub(super) const PAGE: usize = 4096;

/// The kinds of sites. A pointer is data.
pub(super) const KINDS: [Kind; 6] =
    [Kind::Branch, Kind::SliceEnter, Kind::SliceLeave, Kind::Ordered, Kind::Select, Kind::Constant];

/// Sites are exchanged in so many shares, as those of several keys would be.
pub(super) const SHARES: usize = 4;

/// The share of the site with this index.
pub(super) fn share_of(site: usize) -> usize {
    site % SHARES
}

/// What is tried at a site, and what its bit says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trial {
    /// A branch whose record has this value. The bit: whether it was taken.
    Branch(u8),
    /// An ordered branch that falls through from the second value on. The bit: whether it was taken.
    Ordered,
    /// The bit: the request byte behind it.
    Enter,
    /// With a request set. The bit: whether it still is, behind the site.
    TakeBack,
    /// With no request set, as if the kernel had granted it. The bit: whether the cold path was taken.
    Granted,
    /// A select with a target for each value. The bit: to which it has led.
    Select,
    /// A constant, in `rax`. The bit: its number; of a wide one the upper half.
    Constant,
}

impl Trial {
    const ALL: [Self; 8] = [
        Self::Branch(0),
        Self::Branch(1),
        Self::Ordered,
        Self::Enter,
        Self::TakeBack,
        Self::Granted,
        Self::Select,
        Self::Constant,
    ];

    fn kind(self) -> Kind {
        match self {
            Self::Branch(_) => Kind::Branch,
            Self::Ordered => Kind::Ordered,
            Self::Select => Kind::Select,
            Self::Constant => Kind::Constant,
            Self::Enter => Kind::SliceEnter,
            Self::TakeBack | Self::Granted => Kind::SliceLeave,
        }
    }

    /// The value in the record of a site of this length.
    fn value(self, length: u8) -> u8 {
        match self {
            Self::Branch(value) => value,
            Self::Ordered => 1,
            // The register, and whether all of it is loaded.
            Self::Constant if length == WIDE => 32,
            _ => 0,
        }
    }

    /// What the bit has to be, where the key has this value.
    fn bit(self, value: u8) -> u64 {
        match self {
            Self::Branch(of_site) => (value != of_site).into(),
            Self::Enter | Self::Granted | Self::Select | Self::Constant => value.into(),
            // Where requests are absent, the site leaves memory alone.
            Self::TakeBack | Self::Ordered => (value == 0).into(),
        }
    }
}

/// What was decided, and what is set: the value of keys that stay, and that of a switch, which is decided as they are.
#[derive(Clone, Copy)]
pub(super) struct State {
    pub(super) decided: u8,
    pub(super) set: u8,
}

impl State {
    const ALL: [Self; 4] = [Self::at(0), Self::at(1), Self::at(2), Self::at(3)];

    pub(super) const fn at(index: u8) -> Self {
        Self { decided: index >> 1 & 1, set: index & 1 }
    }

    pub(super) fn decided(value: u8) -> Self {
        Self { decided: value, set: value }
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.decided << 1 | self.set)
    }

    /// By which value sites of this kind go. Nothing sets what requests or constants go by: a leave of one value must not become
    /// one of another, nor a constant one of another number, while a thread stands inside.
    fn of(self, kind: Kind) -> u8 {
        match kind {
            Kind::Branch | Kind::Ordered | Kind::Select => self.set,
            Kind::SliceEnter | Kind::SliceLeave | Kind::Constant | Kind::Pointer => self.decided,
        }
    }
}

/// The length of a constant of 64 bits.
const WIDE: u8 = 11;
/// Where the number of the constants is, from the state of the key on.
pub(super) const NUMBER: usize = 8;

/// The number of the constants, where the key has this value: of each half the value.
pub(super) fn number(value: u8) -> u64 {
    u64::from(value) << 32 | u64::from(value)
}

/// The lengths of the sites of a kind, as in `docs/site-abi.md`. Those with a jump have a short one or a long one.
fn lengths(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Branch | Kind::Ordered => &[10, 14],
        Kind::SliceEnter => &[12, 16],
        Kind::SliceLeave => &[11, 15],
        Kind::Select => &[9],
        Kind::Constant => &[7, WIDE],
        Kind::Pointer => unreachable!("it is no code"),
    }
}

/// Where the last instruction of a site begins, counted from its first byte: no thread is ever at another place inside. Behind a
/// select its chain begins, in which threads are that the checked form has led there. A constant is one instruction.
fn inner_boundary(site: &Site) -> Option<usize> {
    match site.kind {
        Kind::Branch | Kind::Ordered => Some(8),
        Kind::SliceEnter => Some(10),
        Kind::SliceLeave => Some(9),
        Kind::Select => Some(site.length.into()),
        Kind::Constant | Kind::Pointer => None,
    }
}

/// A function that goes through some of the sites.
pub(super) struct Chain {
    /// Where it begins.
    pub(super) entry: usize,
    /// Its sites.
    pub(super) sites: Range<usize>,
    /// What it has to return, by [`State::index`].
    pub(super) expected: [u64; 4],
    /// The bits of its slice enters.
    pub(super) enters: u64,
    /// The bits of those that go by what is set.
    pub(super) switches: u64,
}

/// The text, and where everything is in it.
pub(super) struct Text {
    /// Its bytes, all sites in checked form.
    pub(super) bytes: Vec<u8>,
    /// Its sites, in the order of their addresses. These count from the byte with the state of the key, which has the page in
    /// front of the text.
    pub(super) sites: Vec<Site>,
    /// The functions.
    pub(super) chains: Vec<Chain>,
    /// For each byte: 0, or one more than the index of the site whose last instruction, or chain, begins there.
    pub(super) inner: Vec<u16>,
    /// Where the request byte is, from the thread pointer.
    pub(super) request: i32,
}

impl Text {
    /// Text for threads that have their request byte so far from their thread pointer.
    pub(super) fn new(request: i32) -> Self {
        let mut text = Self { bytes: vec![], sites: vec![], chains: vec![], inner: vec![], request };
        let anywhere = anywhere_in_a_line();
        let across = across_pages();
        for (page, &(trial, length, in_front)) in across.iter().enumerate() {
            let (entry, first) = (text.bytes.len(), text.sites.len());
            let mut chain = Chain { entry, sites: first..first, expected: [0; 4], enters: 0, switches: 0 };
            for &(trial, length, offset) in anywhere.iter().skip(page).step_by(across.len()) {
                let at = text.next(trial, offset);
                text.add(&mut chain, trial, length, at);
            }
            text.add(&mut chain, trial, length, (page + 1) * PAGE - in_front);
            text.bytes.push(0xc3); // ret
            text.chains.push(chain);
        }
        text.bytes.resize(text.bytes.len().next_multiple_of(PAGE), INT3);
        text.inner = vec![0; text.bytes.len()];
        for (index, site) in text.sites.iter().enumerate() {
            if let Some(inner) = inner_boundary(site) {
                let at = text.range(site).start + inner;
                text.inner[at] = u16::try_from(index + 1).expect("some hundred sites");
            }
        }
        text
    }

    /// Where the bytes of a site are.
    pub(super) fn range(&self, site: &Site) -> Range<usize> {
        let start = site.address as usize - PAGE;
        start..start + usize::from(site.length)
    }

    /// How many sites of this kind there are.
    pub(super) fn count(&self, kind: Kind) -> usize {
        self.sites.iter().filter(|site| site.kind == kind).count()
    }

    /// Whether a site lies across two blocks of so many bytes.
    pub(super) fn is_across(&self, site: &Site, size: usize) -> bool {
        let Range { start, end } = self.range(site);
        start / size != (end - 1) / size
    }

    /// What a site is and where, in words.
    pub(super) fn describe(&self, index: usize) -> String {
        let site = &self.sites[index];
        let kind = invar::kind_name(site.kind);
        let place = match [PAGE, LINE].map(|size| self.is_across(site, size)) {
            [true, _] => "across two pages",
            [_, true] => "across two cache lines",
            _ => "inside of a cache line",
        };
        format!("{kind} of {} bytes, {place}, at byte {} of the text", site.length, self.range(site).start)
    }

    /// The bytes with some of the shares in another form.
    pub(super) fn with(&self, shares: Range<usize>, form: impl Fn(&Site) -> Vec<u8>) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for (_, site) in self.sites.iter().enumerate().filter(|(index, _)| shares.contains(&share_of(*index))) {
            bytes[self.range(site)].copy_from_slice(&form(site));
        }
        bytes
    }

    /// The bound form of a site.
    pub(super) fn bound(&self, site: &Site, state: State) -> Vec<u8> {
        let value = state.of(site.kind);
        to_bytes(match site.kind {
            Kind::Constant => x86_64::constant(site, number(value)),
            Kind::Select => x86_64::bound(&record_of_select(site, value), value, 0),
            _ => x86_64::bound(site, value, self.request),
        })
    }

    /// What ABI 1 had instead: a nop over the whole site, or a jump at its begin. Nothing begins where the last instruction of
    /// the checked form does, and the first byte is another one.
    pub(super) fn bound_by_abi_1(&self, site: &Site, state: State) -> Vec<u8> {
        let (whole, value) = (usize::from(site.length), state.of(site.kind));
        match site.kind {
            // It had no others.
            Kind::Branch | Kind::SliceEnter | Kind::SliceLeave if value == site.value => return nop(whole),
            Kind::Branch => {}
            _ => return self.bound(site, state),
        }
        let distance = site.target as i64 - (site.address as i64 + 5);
        let mut bytes = vec![0xe9];
        bytes.extend((distance as i32).to_le_bytes());
        bytes.extend(nop(whole - 5));
        bytes
    }

    /// The next address for a site at this offset in a line.
    fn next(&self, trial: Trial, offset: usize) -> usize {
        let earliest = self.bytes.len() + self.prepare(trial).len();
        let line = earliest / LINE * LINE;
        if line + offset < earliest { line + LINE + offset } else { line + offset }
    }

    /// Adds a site at this address, and what makes a bit of it.
    fn add(&mut self, chain: &mut Chain, trial: Trial, length: u8, at: usize) {
        let prepare = self.prepare(trial);
        self.skip_to(at - prepare.len());
        self.bytes.extend(prepare);

        let kind = trial.kind();
        let (behind, target) = self.behind(trial, length);
        let address = (PAGE + at) as u64;
        let target = if trial == Trial::Constant { NUMBER as u64 } else { address + u64::from(length) + target as u64 };
        let site = Site { address, target, state: 0, length, kind, value: trial.value(length) };
        self.bytes.extend(to_bytes(x86_64::checked(&site)));
        if trial == Trial::Select {
            for value in [0, 1] {
                let link = x86_64::link(&record_of_select(&site, value));
                self.bytes.extend(to_bytes(link.map(|(_, link)| link)));
            }
        }
        self.bytes.extend(behind);
        self.sites.push(site);

        chain.sites.end += 1;
        for state in State::ALL {
            let expected = &mut chain.expected[state.index()];
            *expected = *expected << 1 | trial.bit(state.of(kind));
        }
        chain.enters = chain.enters << 1 | u64::from(trial == Trial::Enter);
        chain.switches = chain.switches << 1 | u64::from(State { decided: 0, set: 1 }.of(kind));
    }

    /// What stands before a site.
    fn prepare(&self, trial: Trial) -> Vec<u8> {
        match trial {
            Trial::TakeBack => self.set_request(1),
            Trial::Constant => PUSH_RAX.to_vec(),
            _ => vec![],
        }
    }

    /// What stands behind a site, and its chain, and where behind the site its target is.
    fn behind(&self, trial: Trial, length: u8) -> (Vec<u8>, usize) {
        let from_memory = |in_cold_path| {
            let mut code = [APPEND_0.to_vec(), self.add_request(), self.set_request(0)].concat();
            let cold = self.set_request(in_cold_path);
            let jump = 2;
            code.extend([JMP, (cold.len() + jump) as u8]);
            let target = code.len();
            code.extend(cold);
            // Back to what stands behind the site.
            let distance = code.len() + jump;
            code.extend([JMP, (distance as u8).wrapping_neg()]);
            (code, target)
        };
        match trial {
            Trial::Select => {
                let code = [&APPEND_0[..], &[JMP, APPEND_1.len() as u8], &APPEND_1].concat();
                (code, 2 * LINK)
            }
            Trial::Constant => {
                let upper: &[u8] = if length == WIDE { &SHIFT_RAX } else { &[] };
                ([upper, &APPEND_0, &ADD_RAX, &POP_RAX].concat(), 0)
            }
            Trial::Branch(_) | Trial::Ordered | Trial::Granted => {
                let code = [&APPEND_0[..], &[JMP, APPEND_1.len() as u8], &APPEND_1].concat();
                (code, APPEND_0.len() + 2)
            }
            Trial::Enter => from_memory(1),
            Trial::TakeBack => from_memory(0),
        }
    }

    /// `mov byte fs:[request], value`
    fn set_request(&self, value: u8) -> Vec<u8> {
        [&[0x64, 0xc6, 0x04, 0x25][..], &self.request.to_le_bytes(), &[value]].concat()
    }

    /// `add r11b, fs:[request]`
    fn add_request(&self) -> Vec<u8> {
        [&[0x64, 0x44, 0x02, 0x1c, 0x25][..], &self.request.to_le_bytes()].concat()
    }

    /// Goes on there. Between, a thread would be stopped.
    fn skip_to(&mut self, there: usize) {
        let gap = there.checked_sub(self.bytes.len()).expect("a page has room for its sites");
        match gap {
            0 => {}
            1 => self.bytes.push(0x90),
            2..=129 => self.bytes.extend([JMP, gap as u8 - 2]),
            _ => {
                self.bytes.push(0xe9);
                self.bytes.extend((gap as u32 - 5).to_le_bytes());
            }
        }
        self.bytes.resize(there, INT3);
    }
}

/// Every sort of site at every offset in a line: what, its length, and the offset. Sorts take turns, so that no thread has to step far
/// to one of them.
fn anywhere_in_a_line() -> Vec<(Trial, u8, usize)> {
    let sorts =
        || Trial::ALL.into_iter().flat_map(|trial| lengths(trial.kind()).iter().map(move |&length| (trial, length)));
    (0..LINE).flat_map(|offset| sorts().map(move |(trial, length)| (trial, length, offset))).collect()
}

/// Sites of every kind and length that lie across two pages in every way: what, its length, and how many of its bytes are in the
/// first page. Trials of one kind take turns.
fn across_pages() -> Vec<(Trial, u8, usize)> {
    let mut all = vec![];
    for kind in KINDS {
        let mut trials = Trial::ALL.into_iter().filter(|trial| trial.kind() == kind).cycle();
        for &length in lengths(kind) {
            for in_front in 1..usize::from(length) {
                all.push((trials.next().expect("each kind is tried"), length, in_front));
            }
        }
    }
    all
}

/// The record of a select for this value of the key. The targets are one behind the other.
fn record_of_select(site: &Site, value: u8) -> Site {
    let between = APPEND_0.len() + 2;
    Site { value, target: site.target + u64::from(value) * between as u64, ..*site }
}

/// How long a link of a select's chain is.
const LINK: usize = 14;

const PUSH_RAX: [u8; 1] = [0x50];
const POP_RAX: [u8; 1] = [0x58];
/// `shr rax, 32`
const SHIFT_RAX: [u8; 4] = [0x48, 0xc1, 0xe8, 32];
/// `add r11, rax`
const ADD_RAX: [u8; 3] = [0x49, 0x01, 0xc3];
const JMP: u8 = 0xeb;
const INT3: u8 = 0xcc;
/// `lea r11, [r11 + r11]`. Flags stay as they are.
const APPEND_0: [u8; 4] = [0x4f, 0x8d, 0x1c, 0x1b];
/// `lea r11, [r11 + r11 + 1]`
const APPEND_1: [u8; 5] = [0x4f, 0x8d, 0x5c, 0x1b, 0x01];

fn to_bytes(form: Option<Code>) -> Vec<u8> {
    form.expect("the site is one of the ABI's").write_to(&mut [0; Code::LONGEST]).to_vec()
}

/// Nops of so many bytes: one, if that is no longer than an instruction can be. Source: Intel SDM volume 2, NOP, table 4-12;
/// longer ones have more prefixes.
fn nop(length: usize) -> Vec<u8> {
    const LONGEST: usize = 15;
    if length > LONGEST {
        return [nop(LONGEST), vec![0x90; length - LONGEST]].concat();
    }
    let last: &[u8] = if length < 8 { &[0x0f, 0x1f, 0x44, 0, 0] } else { &[0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0] };
    [vec![0x66; length - last.len()], last.to_vec()].concat()
}
