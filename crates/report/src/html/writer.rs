//! Writing HTML that cannot be unbalanced, and in which nothing from outside is markup.
//!
//! Names of elements and attributes are part of the program; whatever else is written is text and
//! is escaped. A template engine would not be shorter, and would let raw strings through.

/// HTML that is being written.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: String,
}

/// Names and values.
pub(crate) type Attributes<'a> = &'a [(&'static str, &'a str)];

impl Writer {
    /// A whole document: its beginning, then what `inside` writes.
    pub(crate) fn document(inside: impl FnOnce(&mut Self)) -> String {
        let mut writer = Self {
            out: "<!DOCTYPE html>\n".to_owned(),
        };
        writer.with("html", &[("lang", "en")], inside);
        writer.out.push('\n');
        writer.out
    }

    /// An element of a class (none if empty) with what `inside` writes.
    pub(crate) fn element(
        &mut self,
        tag: &'static str,
        class: &str,
        inside: impl FnOnce(&mut Self),
    ) {
        if class.is_empty() {
            self.with(tag, &[], inside);
        } else {
            self.with(tag, &[("class", class)], inside);
        }
    }

    /// An element of a class (none if empty) that holds text alone.
    pub(crate) fn leaf(&mut self, tag: &'static str, class: &str, text: &str) {
        self.element(tag, class, |html| html.text(text));
    }

    /// An element with attributes and what `inside` writes.
    pub(crate) fn with(
        &mut self,
        tag: &'static str,
        attributes: Attributes<'_>,
        inside: impl FnOnce(&mut Self),
    ) {
        self.start(tag, attributes);
        inside(self);
        self.out.push_str("</");
        self.out.push_str(tag);
        self.out.push('>');
        if BLOCKS.contains(&tag) {
            self.out.push('\n');
        }
    }

    /// An element that has no end: `meta`.
    pub(crate) fn void(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.start(tag, attributes);
        self.out.push('\n');
    }

    fn start(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.out.push('<');
        self.out.push_str(tag);
        for (name, value) in attributes {
            self.out.push(' ');
            self.out.push_str(name);
            self.out.push_str("=\"");
            self.text(value);
            self.out.push('"');
        }
        self.out.push('>');
    }

    /// The style sheet, which is part of the program.
    pub(crate) fn style(&mut self, sheet: &'static str) {
        self.out.push_str("<style>\n");
        self.out.push_str(sheet);
        self.out.push_str("</style>\n");
    }

    /// Text: what would be markup is escaped, and what cannot be seen, or turns the direction of
    /// what follows, is shown.
    pub(crate) fn text(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                '\'' => self.out.push_str("&#39;"),
                '\n' | '\t' => self.out.push(letter),
                _ if is_invisible(letter) => {
                    self.out
                        .push_str(&format!("\u{27e8}U+{:04X}\u{27e9}", u32::from(letter)));
                }
                _ if is_noncharacter(letter) => self.out.push('\u{fffd}'),
                _ => self.out.push(letter),
            }
        }
    }

    /// Bytes written by now.
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }
}

/// After these a line ends, so that the page can be read and compared as text too.
const BLOCKS: [&str; 24] = [
    "head", "title", "body", "header", "main", "footer", "nav", "section", "article", "div", "p",
    "h1", "h2", "h3", "h4", "ul", "ol", "li", "table", "tr", "details", "dl", "dd", "svg",
];

/// Controls, marks and overrides of direction, letters without width, separators
/// of lines: whatever makes text look as it is not.
fn is_invisible(letter: char) -> bool {
    matches!(letter,
        '\0'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// What HTML allows in no text.
fn is_noncharacter(letter: char) -> bool {
    let code = u32::from(letter);
    matches!(code, 0xfdd0..=0xfdef) || code & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut writer = Writer::default();
        writer.text(text);
        writer.out
    }

    #[test]
    fn text_is_no_markup() {
        assert_eq!(
            shown("</style><script>\"'&amp;"),
            "&lt;/style&gt;&lt;script&gt;&quot;&#39;&amp;amp;"
        );
        let mut writer = Writer::default();
        writer.with("a", &[("href", "\"><b>")], |html| html.text("x"));
        assert_eq!(writer.out, "<a href=\"&quot;&gt;&lt;b&gt;\">x</a>");
    }

    #[test]
    fn what_cannot_be_seen_is_shown() {
        assert_eq!(
            shown("a\0b\x1b[2Jc\x7f\r\n\t"),
            "a⟨U+0000⟩b⟨U+001B⟩[2Jc⟨U+007F⟩⟨U+000D⟩\n\t"
        );
        assert_eq!(shown("\u{202e}gpj.exe\u{200b}"), "⟨U+202E⟩gpj.exe⟨U+200B⟩");
        assert_eq!(
            shown("\u{85}\u{ffff}\u{1fffe}\u{fdd0}"),
            "⟨U+0085⟩\u{fffd}\u{fffd}\u{fffd}"
        );
        assert_eq!(shown("äöü 漢字 עברית"), "äöü 漢字 עברית");
    }

    #[test]
    fn elements_nest_and_end() {
        let page = Writer::document(|html| {
            html.element("body", "", |html| {
                html.leaf("p", "note", "a < b");
                html.void("meta", &[("charset", "utf-8")]);
            });
        });
        assert_eq!(
            page,
            "<!DOCTYPE html>\n<html lang=\"en\"><body><p class=\"note\">a &lt; b</p>\n\
             <meta charset=\"utf-8\">\n</body>\n</html>\n"
        );
    }
}
