//! What can be wrong with an element set: one variant for each kind of mistake.

use thiserror::Error;

use super::catalogue_number::CatalogueNumber;

/// Why an element set cannot be used, and where in the text that shows.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("line {line}, column {column}: {}{problem}", object.as_ref().map(|o| format!("elements of {o}: ")).unwrap_or_default())]
pub struct ElementsError {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The catalogue number or the name, as far as it was read.
    pub object: Option<String>,
    /// The mistake.
    pub problem: Problem,
}

/// A mistake in an element set.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum Problem {
    /// Nothing to read.
    #[error("there are no elements here; give an OMM (JSON, CSV, KVN or XML) or a TLE")]
    Empty,
    /// None of the formats.
    #[error("this is neither an OMM (JSON, CSV, KVN, XML) nor a TLE: {found:?}")]
    UnknownFormat {
        /// How the text begins.
        found: String,
    },
    /// Bytes that are no text.
    #[error("the text is not UTF-8 from here on; save it as UTF-8")]
    NotUtf8,
    /// The format's own grammar is broken.
    #[error("this is not valid {format}: {reason}")]
    Syntax {
        /// JSON, CSV, KVN or XML.
        format: &'static str,
        /// What its reader says.
        reason: String,
    },
    /// The text ends too early.
    #[error("the {format} ends in the middle of an element set; get it again, it was cut off")]
    CutOff {
        /// JSON, CSV, KVN or XML.
        format: &'static str,
    },
    /// A field that must be there is not.
    #[error("{field} is missing")]
    Missing {
        /// Its OMM name.
        field: &'static str,
    },
    /// A field that must have a value is empty.
    #[error("{field} is empty")]
    NoValue {
        /// Its OMM name.
        field: &'static str,
    },
    /// A field twice.
    #[error("{field} is given twice")]
    Twice {
        /// Its OMM name.
        field: &'static str,
    },
    /// A value that is no number.
    #[error("{field} is {value:?}, which is not a number")]
    NotANumber {
        /// Its OMM name.
        field: &'static str,
        /// As written.
        value: String,
    },
    /// A number, but an infinite one or none.
    #[error("{field} is {value}, which is not a finite number")]
    NotFinite {
        /// Its OMM name.
        field: &'static str,
        /// As written.
        value: String,
    },
    /// Outside what an orbit can have.
    #[error("{field} is {value}, outside {range}")]
    OutOfRange {
        /// Its OMM name.
        field: &'static str,
        /// The value.
        value: f64,
        /// What is allowed, with its unit.
        range: &'static str,
    },
    /// An orbit that is not closed.
    #[error("ECCENTRICITY is {value}: only closed orbits, from 0 up to but not 1, have elements like these")]
    NotClosed {
        /// The eccentricity.
        value: f64,
    },
    /// A mean motion that goes nowhere or backwards.
    #[error("MEAN_MOTION is {value} revolutions a day; it must be more than 0")]
    NoMotion {
        /// In revolutions a day.
        value: f64,
    },
    /// A field in another unit than the standard's.
    #[error("{field} is in {unit:?}; the standard has it in {expected}")]
    WrongUnit {
        /// Its OMM name.
        field: &'static str,
        /// As written.
        unit: String,
        /// As CCSDS 502.0-B writes it.
        expected: &'static str,
    },
    /// A field that says the elements are for something else.
    #[error("{field} is {value:?}; only {expected} can be propagated here")]
    Unsupported {
        /// Its OMM name.
        field: &'static str,
        /// As written.
        value: String,
        /// What is understood.
        expected: &'static str,
    },
    /// An epoch that is no time.
    #[error("EPOCH is {value:?}; write it as 2026-03-02T12:03:10.123456")]
    Epoch {
        /// As written.
        value: String,
    },
    /// A catalogue number that is none.
    #[error(
        "catalogue number {value:?} is not 1 to {} digits, nor Alpha-5 (a letter but I and O, and four digits)",
        CatalogueNumber::DIGITS_MAX
    )]
    CatalogueNumber {
        /// As written.
        value: String,
    },
    /// A catalogue number that does not fit a TLE.
    #[error(
        "catalogue number {value} does not fit the five columns of a TLE; those above 99999 are written as \
         Alpha-5 (A0000 is 100000), those above 339999 have no TLE: use an OMM"
    )]
    NumberTooLong {
        /// As written.
        value: String,
    },
    /// A line of the wrong length.
    #[error("line {number} of the TLE has {length} characters instead of 69")]
    LineLength {
        /// 1 or 2.
        number: u8,
        /// How many there are.
        length: usize,
    },
    /// A tab in a TLE.
    #[error("line {number} of the TLE contains a tab; its columns are fixed, use blanks")]
    Tab {
        /// 1 or 2.
        number: u8,
    },
    /// A character outside ASCII in a TLE.
    #[error("line {number} of the TLE contains {found:?}, which is not ASCII")]
    NotAscii {
        /// 1 or 2.
        number: u8,
        /// The character.
        found: char,
    },
    /// A column that must be blank is not.
    #[error("line {number} of the TLE has {found:?} where a blank must be; its fields have moved")]
    NotBlank {
        /// 1 or 2.
        number: u8,
        /// The character.
        found: char,
    },
    /// A check sum that differs.
    #[error("the check sum of line {number} of the TLE is {found}, but its characters add up to {expected}")]
    CheckSum {
        /// 1 or 2.
        number: u8,
        /// As written.
        found: char,
        /// As counted.
        expected: u32,
    },
    /// A line 1 without its line 2.
    #[error("line 2 of the TLE is missing")]
    NoLineTwo,
    /// A line 2 without its line 1.
    #[error("line 1 of the TLE is missing: this is a line 2")]
    NoLineOne,
    /// Two lines that do not belong together.
    #[error("line 1 of the TLE is for {first} and line 2 for {second}; they do not belong together")]
    TwoObjects {
        /// Of line 1.
        first: String,
        /// Of line 2.
        second: String,
    },
    /// A row with more or fewer fields than the head.
    #[error("the row has {found} fields, but the head has {expected}")]
    RowLength {
        /// In the row.
        found: usize,
        /// In the head.
        expected: usize,
    },
    /// Something else where an element set should be.
    #[error("an element set must be an object of fields, not {found}")]
    NotAnObject {
        /// What is there.
        found: String,
    },
    /// SGP4 cannot start from these elements.
    #[error("SGP4 cannot start from these elements: {reason}")]
    Theory {
        /// What it says.
        reason: String,
    },
}
