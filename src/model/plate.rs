//! Names in a normal form: what people, cameras and tables write in many ways is one plate, one device.

use std::borrow::Cow;

/// A character as a keyboard has it: full-width forms (U+FF01 to U+FF5E) as ASCII.
fn narrow(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        '\u{3000}' => ' ',
        other => other,
    }
}

/// Whether a character shows nothing: joiners, marks of direction and byte order, a soft hyphen.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{00ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// Whether a character stands between the parts of a plate and says nothing: blanks, hyphens, the dot that is painted on it.
fn parts(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '_' | '.' | '·' | '•' | '‧' | '∙' | '⋅' | '・' | '･' | '‐'..='―' | '−')
}

/// The normal form of a plate: capitals and digits as ASCII, without dots, blanks and hyphens. `粤b·1２3 45` is `粤B12345`.
pub fn plate(written: &str) -> Cow<'_, str> {
    if written.chars().all(|c| !c.is_ascii_lowercase() && narrow(c) == c && !is_invisible(c) && !parts(c)) {
        return written.into();
    }
    let shown = written.chars().filter(|c| !is_invisible(*c)).map(narrow).filter(|c| !parts(*c));
    shown.map(|c| c.to_ascii_uppercase()).collect::<String>().into()
}

/// What cameras and clerks write where there is no plate, or none was read.
const NO_PLATE: &[&str] = &[
    "无牌车",
    "无牌",
    "无车牌",
    "无号牌",
    "车牌",
    "未识别",
    "未知",
    "未悬挂",
    "未上牌",
    "NOPLATE",
    "NONE",
    "NULL",
    "NIL",
    "NAN",
    "N/A",
    "NA",
    "UNKNOWN",
    "UNRECOGNIZED",
    "UNDEFINED",
    "PLATE",
];

/// Whether a plate in normal form names a vehicle: not a word for "none", and not one character again and again (`0000000`).
pub fn names_a_vehicle(plate: &str) -> bool {
    let mut digits = plate.chars().filter(|c| !parts(*c) && *c != '?' && *c != '*');
    let first = digits.next();
    first.is_some() && digits.any(|c| Some(c) != first) && !NO_PLATE.contains(&plate)
}

/// The normal form of a device's id: without what shows nothing and without blanks around it, full-width forms as ASCII.
pub fn device_id(written: &str) -> Cow<'_, str> {
    if written.bytes().all(|byte| byte.is_ascii_graphic()) {
        return written.into();
    }
    let shown: String = written.chars().filter(|c| !is_invisible(*c)).map(narrow).collect();
    shown.trim().to_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One truck was six trucks in no register, and blacklist, permits and clones found nothing of it.
    #[test]
    fn one_plate_in_many_spellings_is_one_plate() {
        for written in [
            "粤B12345",
            "粤b12345",
            "粤B·12345",
            "粤B 12345",
            "粤Ｂ１２３４５",
            " 粤B-12345 ",
            "粤B•123 45",
            "粤B\u{200b}12345",
            "粤B.12345\u{feff}",
            "粤B　12345",
        ] {
            assert_eq!(plate(written), "粤B12345", "{written:?}");
        }
        assert!(matches!(plate("粤B12345D"), Cow::Borrowed(_)), "the usual costs nothing");
        assert_ne!(plate("粤B12345"), plate("粤B12346"));
    }

    #[test]
    fn words_for_no_plate_name_nobody() {
        for written in
            ["", "无牌车", "unknown", "No plate", "车牌", "0000000", "-", "??", "＊＊＊", "n/a", "AAAAAAA", " "]
        {
            assert!(!names_a_vehicle(&plate(written)), "{written:?}");
        }
        for written in ["粤B12345", "B1", "粤B00000", "10086"] {
            assert!(names_a_vehicle(&plate(written)), "{written:?}");
        }
    }

    #[test]
    fn a_devices_id_is_what_shows() {
        for (written, expected) in [
            ("GD1", "GD1"),
            ("\u{feff}GD1", "GD1"),
            (" GD1 ", "GD1"),
            ("ＧＤ１", "GD1"),
            ("GD\u{200b}1", "GD1"),
            ("车1", "车1"),
            ("gd1", "gd1"),
        ] {
            assert_eq!(device_id(written), expected, "{written:?}");
        }
    }
}
