//! Element sets in every form, and what becomes of those that are wrong.

use tetryx_station::elements::{Elements, ElementsError, Format, read, read_one};

const ONE: &str = "1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927";
const TWO: &str = "2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537";

fn tle() -> String {
    format!("ISS (ZARYA)\n{ONE}\n{TWO}\n")
}

/// The fields of the same elements, as an OMM names them.
const FIELDS: [(&str, &str); 13] = [
    ("OBJECT_NAME", "ISS (ZARYA)"),
    ("OBJECT_ID", "1998-067A"),
    ("CENTER_NAME", "EARTH"),
    ("REF_FRAME", "TEME"),
    ("EPOCH", "2008-09-20T12:25:40.104192"),
    ("MEAN_MOTION", "15.72125391"),
    ("ECCENTRICITY", ".0006703"),
    ("INCLINATION", "51.6416"),
    ("RA_OF_ASC_NODE", "247.4627"),
    ("ARG_OF_PERICENTER", "130.5360"),
    ("MEAN_ANOMALY", "325.0288"),
    ("NORAD_CAT_ID", "25544"),
    ("BSTAR", "-.11606E-4"),
];

fn json() -> String {
    let members: Vec<_> = FIELDS
        .iter()
        .map(|(key, value)| match value.parse::<f64>() {
            Ok(number) => format!("  \"{key}\": {number:?}"),
            Err(_) => format!("  \"{key}\": \"{value}\""),
        })
        .collect();
    format!("{{\n{}\n}}", members.join(",\n")).replace("25544.0", "25544")
}

fn json_strings() -> String {
    let members: Vec<_> = FIELDS
        .iter()
        .map(|(key, value)| format!("\"{key}\":\"{value}\""))
        .collect();
    format!("[{{{}}}]", members.join(","))
}

fn csv() -> String {
    let (keys, values): (Vec<_>, Vec<_>) = FIELDS.iter().copied().unzip();
    format!("{}\n{}\n", keys.join(","), values.join(","))
}

fn kvn() -> String {
    let lines: Vec<_> = FIELDS
        .iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    format!("CCSDS_OMM_VERS = 3.0\nCOMMENT a comment\n{}\n", lines.join("\n"))
}

fn xml() -> String {
    let fields: Vec<_> = FIELDS
        .iter()
        .map(|(key, value)| format!("<{key}>{value}</{key}>"))
        .collect();
    format!(
        "<?xml version=\"1.0\"?>\n<ndm>\n<omm id=\"CCSDS_OMM_VERS\">\n{}\n</omm>\n</ndm>\n",
        fields.join("\n")
    )
}

fn check_same(elements: &Elements, format: Format) {
    let expected = read_one(&tle()).unwrap();
    assert_eq!(elements.format, format);
    assert_eq!(elements.name.as_deref(), Some("ISS (ZARYA)"));
    assert_eq!(elements.designator.as_deref(), Some("1998-067A"));
    let same = Elements {
        format: expected.format,
        source: expected.source.clone(),
        ..elements.clone()
    };
    assert_eq!(same, expected);
    let again = read_one(&elements.source).unwrap();
    assert_eq!(&again, elements, "the kept text reads as the same");
}

#[test]
fn every_form_of_the_same_elements_is_the_same() {
    for (text, format) in [
        (tle(), Format::Tle),
        (json(), Format::OmmJson),
        (json_strings(), Format::OmmJson),
        (csv(), Format::OmmCsv),
        (kvn(), Format::OmmKvn),
        (xml(), Format::OmmXml),
    ] {
        assert_eq!(Format::of(&text), Some(format));
        let read = read(&text);
        assert_eq!(read.len(), 1, "{text}");
        check_same(
            read[0].as_ref().unwrap_or_else(|error| panic!("{error}\n{text}")),
            format,
        );
    }
}

#[test]
fn line_ends_of_windows_trailing_blanks_and_a_byte_order_mark_do_no_harm() {
    for text in [tle(), json(), csv(), kvn(), xml()] {
        let format = Format::of(&text).unwrap();
        let windows = format!("\u{feff}{}  \r\n\r\n", text.trim_end().replace('\n', "  \r\n"));
        let read = read(&windows);
        assert_eq!(read.len(), 1, "{windows:?}");
        let elements = read[0]
            .as_ref()
            .unwrap_or_else(|error| panic!("{error}\n{windows:?}"));
        assert_eq!(
            (elements.catalogue_number.get(), elements.format),
            (25_544, format)
        );
    }
}

#[test]
fn names_with_a_zero_before_them_and_two_lines_alone_are_read() {
    assert_eq!(
        read_one(&format!("0 ISS\n{ONE}\n{TWO}\n"))
            .unwrap()
            .name
            .as_deref(),
        Some("ISS")
    );
    assert_eq!(read_one(&format!("{ONE}\n{TWO}")).unwrap().label(), "25544");
}

#[test]
fn numbers_of_six_to_nine_digits_are_read() {
    for number in ["100000", "339999", "1234567", "799500766", "999999999"] {
        for text in [json(), json_strings(), csv(), kvn(), xml()] {
            let elements = read_one(&text.replace("25544", number)).unwrap();
            assert_eq!(elements.catalogue_number.to_string(), number);
        }
    }
    let alpha = |line: &str| with_check_sum(&line.replacen("25544", "B1234", 1));
    let elements = read_one(&format!("{}\n{}\n", alpha(ONE), alpha(TWO))).unwrap();
    assert_eq!(elements.catalogue_number.get(), 111_234);
}

fn with_check_sum(line: &str) -> String {
    let body = &line[..68];
    let sum: u32 = body
        .chars()
        .map(|c| c.to_digit(10).unwrap_or(u32::from(c == '-')))
        .sum();
    format!("{body}{}", sum % 10)
}

/// A TLE with a piece of line 1 or 2 changed and the check sums right.
fn changed(number: u8, from: &str, to: &str) -> String {
    assert_eq!(from.len(), to.len());
    let change = |line: &str| {
        assert!(line.contains(from), "{line} has no {from}");
        with_check_sum(&line.replacen(from, to, 1))
    };
    match number {
        1 => format!("{}\n{TWO}\n", change(ONE)),
        _ => format!("{ONE}\n{}\n", change(TWO)),
    }
}

/// Malformed texts, and what the error of each must say.
fn malformed() -> Vec<(&'static str, String, &'static str)> {
    vec![
        (
            "empty",
            String::new(),
            "line 1, column 1: there are no elements here",
        ),
        ("prose", "hello there".to_owned(), "neither an OMM"),
        (
            "check sum of line 1",
            tle().replace("2927", "2928"),
            "line 2, column 69: elements of ISS (ZARYA): the check sum of line 1 of the TLE is 8, but its characters add up to 7",
        ),
        (
            "check sum of line 2",
            tle().replace("563537", "563530"),
            "line 3, column 69: elements of ISS (ZARYA): the check sum of line 2",
        ),
        (
            "check sum is no digit",
            tle().replace("2927", "292X"),
            "the check sum of line 1 of the TLE is X",
        ),
        (
            "line 1 cut",
            format!("{}\n{TWO}\n", &ONE[..60]),
            "line 1 of the TLE has 60 characters instead of 69",
        ),
        (
            "line 2 too long",
            format!("{ONE}\n{TWO}7\n"),
            "line 2 of the TLE has 70 characters instead of 69",
        ),
        ("no line 2", format!("{ONE}\n"), "line 2 of the TLE is missing"),
        (
            "no line 1",
            format!("{TWO}\n"),
            "line 1 of the TLE is missing: this is a line 2",
        ),
        (
            "two objects",
            format!("{ONE}\n{}\n", with_check_sum(&TWO.replacen("25544", "25545", 1))),
            "line 1 of the TLE is for 25544 and line 2 for 25545",
        ),
        (
            "six digits in a TLE",
            format!("{}\n{TWO}\n", ONE.replacen("25544U", "125544U", 1)),
            "line 1, column 3: elements of 125544: catalogue number 125544 does not fit the five columns of a TLE",
        ),
        (
            "a letter that Alpha-5 has not",
            changed(1, "25544", "I5544"),
            "catalogue number \"I5544\" is not 1 to 9 digits, nor Alpha-5",
        ),
        (
            "tab",
            tle().replace("51.6416 247", "51.6416\t247"),
            "line 3, column 17: elements of ISS (ZARYA): line 2 of the TLE contains a tab",
        ),
        (
            "not ASCII",
            tle().replace("98067A", "98067Å"),
            "contains 'Å', which is not ASCII",
        ),
        (
            "moved columns",
            changed(2, "51.6416 2", "51.641602"),
            "line 2 of the TLE has '0' where a blank must be",
        ),
        (
            "day 367",
            changed(1, "08264.5", "08367.5"),
            "column 19: elements of 25544: EPOCH is \"08367.51782528\"",
        ),
        (
            "letters in the inclination",
            changed(2, "51.6416", "51.x416"),
            "column 9: elements of 25544: INCLINATION is \"51.x416\", which is not a number",
        ),
        (
            "blank eccentricity",
            changed(2, "0006703", "       "),
            "ECCENTRICITY is \"       \", which is not a number",
        ),
        (
            "mean motion of zero in a TLE",
            changed(2, "15.72125391", " 0.00000000"),
            "MEAN_MOTION is 0 revolutions a day",
        ),
        (
            "NaN in JSON",
            json().replace("51.6416", "NaN"),
            "line 9, column 18: elements of ISS (ZARYA): this is not valid JSON: expected value",
        ),
        (
            "NaN as text",
            json_strings().replace("51.6416", "NaN"),
            "INCLINATION is NaN, which is not a finite number",
        ),
        (
            "infinity",
            csv().replace("51.6416", "inf"),
            "line 2, column 82: elements of ISS (ZARYA): INCLINATION is inf, which is not a finite number",
        ),
        (
            "missing field",
            json().replace("  \"INCLINATION\": 51.6416,\n", ""),
            "INCLINATION is missing",
        ),
        (
            "missing number",
            kvn().replace("NORAD_CAT_ID = 25544\n", ""),
            "NORAD_CAT_ID is missing",
        ),
        (
            "null",
            json().replace("51.6416", "null"),
            "line 9, column 18: elements of ISS (ZARYA): INCLINATION is empty",
        ),
        (
            "a field twice",
            kvn().replace("BSTAR", "BSTAR = 0\nBSTAR"),
            "line 16, column 9: elements of ISS (ZARYA): BSTAR is given twice",
        ),
        (
            "wrong unit in KVN",
            kvn().replace("INCLINATION = 51.6416", "INCLINATION = 0.9013 [rad]"),
            "line 10, column 15: elements of ISS (ZARYA): INCLINATION is in \"rad\"; the standard has it in deg",
        ),
        (
            "wrong unit in XML",
            xml().replace("<MEAN_MOTION>", "<MEAN_MOTION units=\"rad/s\">"),
            "MEAN_MOTION is in \"rad/s\"; the standard has it in rev/day",
        ),
        (
            "eccentricity 1",
            json().replace("0.0006703", "1.0"),
            "ECCENTRICITY is 1: only closed orbits",
        ),
        (
            "negative eccentricity",
            json().replace("0.0006703", "-0.1"),
            "ECCENTRICITY is -0.1, outside 0 to 1",
        ),
        (
            "negative mean motion",
            xml().replace("15.72125391", "-15.7"),
            "MEAN_MOTION is -15.7 revolutions a day; it must be more than 0",
        ),
        (
            "mean motion below the ground",
            csv().replace("15.72125391", "18.5"),
            "MEAN_MOTION is 18.5, outside 0 to 18 revolutions a day",
        ),
        (
            "inclination of 190",
            json().replace("51.6416", "190.0"),
            "INCLINATION is 190, outside 0 to 180 degrees",
        ),
        (
            "anomaly of 4000",
            json().replace("325.0288", "4000.0"),
            "MEAN_ANOMALY is 4000, outside -360 to 360 degrees",
        ),
        (
            "thirtieth of February",
            json().replace("2008-09-20", "2008-02-30"),
            "EPOCH is \"2008-02-30T12:25:40.104192\"",
        ),
        (
            "ten digits",
            json().replace("25544", "1234567890"),
            "catalogue number \"1234567890\" is not 1 to 9 digits",
        ),
        (
            "other frame",
            kvn().replace("TEME", "EME2000"),
            "REF_FRAME is \"EME2000\"; only TEME can be propagated here",
        ),
        (
            "other theory",
            json().replace("\"REF_FRAME\": \"TEME\"", "\"MEAN_ELEMENT_THEORY\": \"SGP4-XP\""),
            "MEAN_ELEMENT_THEORY is \"SGP4-XP\"; only SGP4",
        ),
        (
            "truncated XML",
            xml()[..300].to_owned(),
            "the XML ends in the middle of an element set",
        ),
        (
            "crossed tags",
            xml().replace("</INCLINATION>", "</INCLNATION>"),
            "this is not valid XML",
        ),
        (
            "truncated JSON",
            json()[..150].to_owned(),
            "the JSON ends in the middle of an element set",
        ),
        (
            "missing comma",
            json().replace("51.6416,", "51.6416"),
            "line 10, column 3: elements of ISS (ZARYA): this is not valid JSON: expected `,` or `}`",
        ),
        (
            "a row too short",
            csv().replace(",25544,", ","),
            "the row has 12 fields, but the head has 13",
        ),
        (
            "a KVN line without =",
            kvn().replace("BSTAR =", "BSTAR"),
            "this is not valid KVN: \"BSTAR -.11606E-4\" has no '='",
        ),
        (
            "an array of numbers",
            "[1, 2]".to_owned(),
            "an element set must be an object of fields, not 1",
        ),
    ]
}

#[test]
fn every_malformed_element_set_has_its_own_clear_error() {
    let cases = malformed();
    assert!(cases.len() >= 30);
    let mut wrong = Vec::new();
    for (what, text, expected) in &cases {
        match read(text)
            .into_iter()
            .find_map(Result::err)
            .map(|error| error.to_string())
        {
            Some(error) if error.contains(expected) && error.starts_with("line ") => {}
            Some(error) => wrong.push(format!("{what}:\n  {error}\ninstead of\n  {expected}")),
            None => wrong.push(format!("{what} is read as if nothing were wrong")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// 10,000 entries of which one is spoilt; joined as the form wants it.
fn check_batch(
    entry: impl Fn(usize) -> String,
    spoil: impl Fn(String) -> String,
    whole: impl Fn(Vec<String>) -> String,
) {
    const BAD: usize = 6_789;
    let entries = (0..10_000)
        .map(|index| {
            if index == BAD {
                spoil(entry(index))
            } else {
                entry(index)
            }
        })
        .collect();
    let read: Vec<Result<Elements, ElementsError>> = read(&whole(entries));
    assert_eq!(read.len(), 10_000);
    for (index, entry) in read.iter().enumerate() {
        match entry {
            Ok(elements) => assert_eq!(elements.catalogue_number.get() as usize, 100_000 + index),
            Err(error) => assert_eq!(index, BAD, "{error}"),
        }
    }
    assert!(read[BAD].is_err());
}

#[test]
fn one_bad_entry_of_ten_thousand_loses_no_other() {
    let number = |text: String, index: usize| text.replace("25544", &(100_000 + index).to_string());
    let json_array = |entries: Vec<String>| format!("[{}]", entries.join(",\n"));
    for bad in ["NaN", "\"x\"", "}"] {
        check_batch(
            |i| number(json(), i),
            |text| text.replace("51.6416", bad),
            json_array,
        );
    }
    check_batch(
        |i| number(json(), i),
        |text| text.trim_end_matches('}').to_owned(),
        json_array,
    );
    let row = |i| number(csv(), i).lines().nth(1).unwrap().to_owned();
    let head = csv().lines().next().unwrap().to_owned();
    check_batch(
        row,
        |text| text.replace("51.6416", ""),
        |rows| format!("{head}\n{}\n", rows.join("\n")),
    );
    check_batch(
        |i| number(kvn(), i),
        |text| text.replace("51.6416", "x"),
        |entries| entries.concat(),
    );
    let omm = |i| {
        let text = number(xml(), i);
        text[text.find("<omm").unwrap()..text.find("</ndm>").unwrap()].to_owned()
    };
    let ndm = |entries: Vec<String>| format!("<ndm>{}</ndm>", entries.concat());
    check_batch(omm, |text| text.replace("</INCLINATION>", ""), ndm);
    check_batch(omm, |text| text.replace("</omm>", ""), ndm);
    let alpha = |i: usize| {
        let name = format!("A{i:04}");
        let line = |line: &str| with_check_sum(&line.replacen("25544", &name, 1));
        format!("NAME {i}\n{}\n{}\n", line(ONE), line(TWO))
    };
    check_batch(
        alpha,
        |text| text.replace("51.6416", "51.6417"),
        |entries| entries.concat(),
    );
    check_batch(
        alpha,
        |text| text.lines().take(2).collect::<Vec<_>>().join("\n") + "\n",
        |entries| entries.concat(),
    );
}
