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

/// A plate in normal form without its province: `B12345` of `粤B12345`, and of itself. `None` of what is no plate of the mainland.
pub fn without_province(plate: &str) -> Option<&str> {
    let first = plate.chars().next()?;
    let rest = if ('\u{4e00}'..='\u{9fff}').contains(&first) { &plate[first.len_utf8()..] } else { plate };
    let is_plate = (6..=7).contains(&rest.chars().count())
        && rest.starts_with(|c: char| c.is_ascii_uppercase())
        && rest.bytes().filter(u8::is_ascii_digit).count() >= 3;
    is_plate.then_some(rest)
}

/// Of the mainland's provinces the character with which their plates begin (GA 36-2018).
const PROVINCES: &str = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼";

/// Whether a plate in normal form is one that a truck of the mainland may bear: province, letter and five digits or letters, of a
/// new-energy vehicle six; I and O are none of them (GA 36-2018). The last one may be `学`, `警`, `挂`, `港`, `澳`, `试` or `超`.
pub fn has_known_form(plate: &str) -> bool {
    let mut rest = plate.chars();
    let is_letter = |c: char| c.is_ascii_uppercase() && !matches!(c, 'I' | 'O');
    let begins =
        rest.next().is_some_and(|c| PROVINCES.contains(c)) && rest.next().is_some_and(|c| c.is_ascii_uppercase());
    let rest: Vec<char> = rest.collect();
    let is_number = |c: &char| is_letter(*c) || c.is_ascii_digit();
    begins
        && matches!(rest.len(), 5 | 6)
        && rest.split_last().is_some_and(|(last, first)| {
            first.iter().all(is_number) && (is_number(last) || "学警挂港澳试超".contains(*last))
        })
}

/// How many characters differ between two plates in normal form, put in or left out too; `None` for more than `most`. Of at most
/// 16 characters each: longer ones are no plates.
pub fn edits(one: &str, other: &str, most: usize) -> Option<usize> {
    const LONGEST: usize = 16;
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().abs_diff(other.len()) > most || one.len().max(other.len()) > LONGEST {
        return None;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (down, a) in one.iter().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], down + 1);
        for (along, b) in other.iter().enumerate() {
            let kept = corner + usize::from(a != b);
            corner = row[along + 1];
            row[along + 1] = kept.min(corner + 1).min(row[along] + 1);
        }
    }
    Some(row[other.len()]).filter(|edits| *edits <= most)
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
    fn a_truck_bears_a_plate_of_a_known_form() {
        for written in ["粤B12345", "粤BD12345", "粤B12345D", "粤B1234挂", "川A00001", "粤BK9Z8D"] {
            assert!(has_known_form(written), "{written}");
        }
        for written in [
            "",
            "粤B1234",
            "粤B1234567",
            "B12345",
            "粤112345",
            "粤B1234O",
            "粤B12I45",
            "港B12345",
            "AB12345",
            "粤B1挂345",
        ] {
            assert!(!has_known_form(written), "{written}");
        }
    }

    #[test]
    fn a_plate_is_known_without_its_province() {
        for (written, expected) in [
            ("粤B12345", Some("B12345")),
            ("B12345", Some("B12345")),
            ("粤BD12345", Some("BD12345")),
            ("粤B1234学", Some("B1234学")),
            ("B12", None),
            ("12345678", None),
            ("BANANA", None),
            ("粤B123456789", None),
            ("", None),
        ] {
            assert_eq!(without_province(written), expected, "{written}");
        }
    }

    #[test]
    fn differences_are_counted_up_to_a_limit() {
        for (one, other, expected) in [
            ("粤B12345", "粤B12345", Some(0)),
            ("粤B12345", "粤B12346", Some(1)),
            ("粤B12345", "粤B1234", Some(1)),
            ("粤B12345", "粤B21345", Some(2)),
            ("粤B12345", "湘A12345", Some(2)),
            ("粤B12345", "湘A12354", None),
            ("", "粤B1", None),
        ] {
            assert_eq!(edits(one, other, 2), expected, "{one} {other}");
            assert_eq!(edits(other, one, 2), expected, "{other} {one}");
        }
        assert_eq!(edits(&"粤".repeat(1_000_000), &"粤".repeat(1_000_000), 2), None, "nobody waits for it");
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
