//! Everything the framer refuses, by name, so that tests can switch off one check at a time and show that it is missed.

macro_rules! checks {
    ($($name:ident,)*) => {
        /// One thing that is refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Check {
            $($name,)*
        }

        #[cfg(test)]
        impl Check {
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

checks! {
    Utf8,
    Character,
    TagBalance,
    NameStart,
    NameCharacter,
    NameColon,
    TagSyntax,
    AttributeSpace,
    LessThanInAttribute,
    DuplicateName,
    DuplicateExpandedName,
    ElementPrefix,
    AttributePrefix,
    EmptyPrefix,
    ReservedPrefix,
    ReservedDefault,
    CdataEndInText,
    Reference,
    ReferencedCharacter,
    Entity,
    Comment,
    ProcessingInstruction,
    Doctype,
    DeclarationPlace,
    DeclarationSyntax,
    Version,
    Encoding,
    TextOutsideElement,
    AfterEnd,
    StanzaBytes,
    Depth,
    Attributes,
    Children,
    Prefixes,
    NameBytes,
    ReferenceBytes,
    BufferedBytes,
}

/// Which checks are on: all of them, except in tests of the checks themselves.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Checks {
    #[cfg(test)]
    disabled: Option<Check>,
}

impl Checks {
    #[cfg(test)]
    pub(super) fn without(disabled: Option<Check>) -> Self {
        Self { disabled }
    }

    #[inline(always)]
    pub(super) fn on(self, check: Check) -> bool {
        #[cfg(test)]
        return self.disabled != Some(check);
        #[cfg(not(test))]
        {
            let _ = check;
            true
        }
    }
}
