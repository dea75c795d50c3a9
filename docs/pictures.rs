//! Draws the pictures of `docs/how-it-works.md`. `tests/docs.rs` fails where a file is not what stands here;
//! `INVAR_TEST_DRAW=1 cargo test --test docs pictures` writes the files.

/// The files, each with its content.
pub(crate) fn all() -> [(&'static str, String); 2] {
    [("docs/key.svg", key()), ("docs/request.svg", request())]
}

/// Of one set of colours: what is behind all, what is behind text in a box, lines, text, and what stands out.
pub(crate) struct Palette {
    pub(crate) page: [u8; 3],
    pub(crate) boxes: [u8; 3],
    pub(crate) line: [u8; 3],
    pub(crate) text: [u8; 3],
    pub(crate) strong: [u8; 3],
}

pub(crate) const LIGHT: Palette = Palette {
    page: [0xff, 0xff, 0xff],
    boxes: [0xee, 0xf3, 0xf8],
    line: [0x57, 0x60, 0x6a],
    text: [0x1f, 0x23, 0x28],
    strong: [0x0a, 0x4f, 0xa8],
};
pub(crate) const DARK: Palette = Palette {
    page: [0x0d, 0x11, 0x17],
    boxes: [0x1c, 0x25, 0x30],
    line: [0x9a, 0xa4, 0xae],
    text: [0xe6, 0xed, 0xf3],
    strong: [0x7c, 0xb8, 0xff],
};

/// Size of the letters. All have one width, so that the length of a text is known.
const LETTER: i32 = 13;
const LINE: i32 = 18;

/// How wide a text is, rounded up. Monospaced letters are 0.6 of their height wide, or a little more.
fn width(text: &str) -> i32 {
    (text.chars().count() as i32 * LETTER * 61 + 99) / 100
}

/// A picture in the making.
struct Picture {
    width: i32,
    height: i32,
    shapes: String,
}

impl Picture {
    fn new(width: i32, height: i32) -> Self {
        Self { width, height, shapes: String::new() }
    }

    fn text(&mut self, x: i32, y: i32, class: &str, text: &str) {
        assert!(x >= 0 && x + width(text) <= self.width && y <= self.height, "{text:?} leaves the picture");
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        self.shapes += &format!("<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{text}</text>\n");
    }

    /// A box with a title and lines of text.
    fn boxed(&mut self, (x, y): (i32, i32), size: (i32, i32), title: &str, lines: &[&str]) {
        let (w, h) = size;
        assert!(x + w <= self.width && y + h <= self.height, "{title:?} leaves the picture");
        assert!(LINE * (lines.len() as i32 + 1) + 10 <= h, "{title:?} is too high for its box");
        self.shapes += &format!("<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"6\" class=\"box\"/>\n");
        for (at, line) in [title].iter().chain(lines).enumerate() {
            assert!(width(line) + 20 <= w, "{line:?} is too long for its box");
            self.text(x + 10, y + 20 + LINE * at as i32, if at == 0 { "strong" } else { "plain" }, line);
        }
    }

    /// An arrow through these points.
    fn arrow(&mut self, points: &[(i32, i32)]) {
        let points: Vec<_> = points.iter().map(|(x, y)| format!("{x},{y}")).collect();
        self.shapes += &format!("<polyline points=\"{}\" class=\"arrow\"/>\n", points.join(" "));
    }

    /// A line across the picture, and what is below it.
    fn lane(&mut self, y: i32, name: &str) {
        self.shapes += &format!("<line x1=\"20\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" class=\"lane\"/>\n", self.width - 20);
        self.text(20, y + 20, "plain", name);
    }

    fn finish(self) -> String {
        let Self { width, height, shapes } = self;
        let style = |palette: &Palette| {
            let hex = |[red, green, blue]: [u8; 3]| format!("#{red:02x}{green:02x}{blue:02x}");
            let Palette { page, boxes, line, text, strong } = palette;
            format!(
                ".page {{ fill: {} }} .box {{ fill: {}; stroke: {line} }} .lane, .arrow {{ stroke: {line} }} \
                 #head {{ fill: {line} }} .plain {{ fill: {} }} .strong {{ fill: {}; font-weight: bold }}",
                hex(*page),
                hex(*boxes),
                hex(*text),
                hex(*strong),
                line = hex(*line),
            )
        };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">\n<style>\n\
             text {{ font-family: monospace; font-size: {LETTER}px }} .arrow {{ fill: none; marker-end: url(#arrow) }} \
             .lane {{ stroke-dasharray: 4 4 }}\n{}\n@media (prefers-color-scheme: dark) {{ {} }}\n</style>\n\
             <defs><marker id=\"arrow\" markerWidth=\"10\" markerHeight=\"10\" refX=\"9\" refY=\"5\" orient=\"auto\">\
             <path id=\"head\" d=\"M0,1 L10,5 L0,9 z\"/></marker></defs>\n\
             <rect width=\"{width}\" height=\"{height}\" class=\"page\"/>\n{shapes}</svg>\n",
            style(&LIGHT),
            style(&DARK),
        )
    }
}

/// From a key's declaration to the report.
fn key() -> String {
    let mut picture = Picture::new(960, 535);
    picture.lane(10, "1. The compiler and the linker build the module");
    picture.boxed((20, 45), (200, 64), "key!", &["static KEY", "and its probe"]);
    picture.boxed(
        (300, 45),
        (270, 100),
        "what the key has",
        &["state: 256 zero bytes", "names: of key and values", "probe: a function", "record: leads to all three"],
    );
    picture.boxed(
        (650, 45),
        (290, 100),
        "branch!(KEY)",
        &["site: cmp [state]; jne", "(the checked form)", "record: leads to the site", "and to the key's state"],
    );
    picture.arrow(&[(220, 77), (300, 77)]);
    picture.arrow(&[(650, 77), (570, 77)]);

    picture.lane(185, "2. The module is loaded, and its constructor runs");
    let size = (205, 100);
    picture.boxed((20, 225), size, "find", &["the module's tables", "read the settings"]);
    picture.boxed((258, 225), size, "decide", &["adopt, or", "call the probe:", "value, evidence"]);
    picture.boxed((496, 225), size, "seal", &["the verdict is", "in the state,", "and final"]);
    picture.boxed((735, 225), size, "bind", &["copy the pages,", "bind sites there,", "exchange pages"]);
    for x in [225, 463, 701] {
        picture.arrow(&[(x, 275), (x + 33, 275)]);
    }
    picture.arrow(&[(435, 145), (435, 225)]);
    picture.arrow(&[(795, 145), (795, 225)]);

    picture.lane(365, "3. The program runs");
    picture.boxed(
        (20, 405),
        (290, 82),
        "the code",
        &["runs the bound form:", "no load, no compare", "(unbound: the checked form)"],
    );
    picture.boxed((335, 405), (290, 82), "Key::get, Key::verdict", &["read the state"]);
    picture.boxed((650, 405), (290, 82), "report()", &["reads the states, and reads", "each site's bytes again"]);
    picture.arrow(&[(865, 325), (865, 405)]);
    picture.arrow(&[(780, 325), (780, 345), (240, 345), (240, 405)]);
    picture.arrow(&[(560, 325), (560, 405)]);
    picture.text(20, 520, "plain", "Where a step is not possible, the checked form stays, and the report says why.");
    picture.finish()
}

/// The states of a thread's two bytes, and what leads from one to the other.
fn request() -> String {
    let mut picture = Picture::new(960, 420);
    let size = (190, 82);
    let top = 120;
    picture.boxed((20, top), size, "nothing", &["request byte 0", "grant byte 0"]);
    picture.boxed((385, top), size, "requested", &["request byte 1", "grant byte 0"]);
    picture.boxed((750, top), size, "granted", &["request byte 0", "grant byte 1"]);

    picture.arrow(&[(210, 140), (385, 140)]);
    picture.text(226, 115, "strong", "slice enter");
    picture.text(226, 132, "plain", "the thread: =1");
    picture.arrow(&[(575, 140), (750, 140)]);
    picture.text(591, 98, "strong", "grant");
    picture.text(591, 115, "plain", "the kernel, before");
    picture.text(591, 132, "plain", "it would preempt");

    picture.arrow(&[(385, 165), (210, 165)]);
    picture.text(226, 183, "strong", "slice leave");
    picture.text(226, 200, "plain", "shr: carry is 1");

    picture.arrow(&[(480, 202), (480, 262), (180, 262), (180, 202)]);
    picture.text(190, 240, "strong", "lost");
    picture.text(190, 256, "plain", "the kernel preempts at once");

    picture.arrow(&[(790, 202), (790, 300), (140, 300), (140, 202)]);
    picture.text(500, 294, "strong", "yield");
    picture.text(548, 294, "plain", "slice leave: carry is 0");
    picture.arrow(&[(840, 202), (840, 338), (100, 338), (100, 202)]);
    picture.text(500, 332, "strong", "abort");
    picture.text(548, 332, "plain", "another system call");
    picture.arrow(&[(890, 202), (890, 376), (60, 376), (60, 202)]);
    picture.text(500, 370, "strong", "expire, revoke");
    picture.text(622, 370, "plain", "the timer ends");

    picture.text(20, 30, "plain", "The two bytes of one thread's rseq area. The thread writes the request byte;");
    picture.text(20, 48, "plain", "only the kernel writes the grant byte.");
    picture.text(20, 408, "plain", "yield, abort, revoke: the thread gives up the CPU, and goes on later.");
    picture.finish()
}
