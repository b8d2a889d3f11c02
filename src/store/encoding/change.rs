//! Each kind of change by its number, and its parts.

use super::*;

/// Writes each kind of change under a number that never changes, and reads it again. The parts are in the order of the pattern.
macro_rules! changes {
    ($($number:literal = $pattern:pat, [$($part:ident)*], $make:expr;)*) => {
        impl Encode for Change {
            fn encode(&self, out: &mut Writer) {
                match self {
                    $($pattern => {
                        out.u8($number);
                        $($part.encode(out);)*
                    })*
                }
            }
            fn decode(input: &mut Reader<'_>) -> Result<Self> {
                match input.u8()? {
                    $($number => {
                        $(let $part = Encode::decode(input)?;)*
                        Ok($make)
                    })*
                    _ => Err(ErrorKind::StoreTooNew.into()),
                }
            }
        }
    };
}

changes! {
    0 = Self::Unknown, [], Self::Unknown;
    1 = Self::Append(message), [message], Self::Append(message);
    2 = Self::SetFlags { id, set, clear }, [id set clear], Self::SetFlags { id, set, clear };
    3 = Self::SetContent { id, xml, text }, [id xml text], Self::SetContent { id, xml, text };
    4 = Self::RemoveMessage(id), [id], Self::RemoveMessage(id);
    5 = Self::Prune(before), [before], Self::Prune(before);
    6 = Self::Release(conversation), [conversation], Self::Release(conversation);
    7 = Self::Gap(gap), [gap], Self::Gap(gap);
    8 = Self::FillGap(position), [position], Self::FillGap(position);
    9 = Self::Acknowledge { name, through, above }, [name through above], Self::Acknowledge { name, through, above };
    10 = Self::RemoveCursor(name), [name], Self::RemoveCursor(name);
    11 = Self::ArchiveCursor(archive, cursor), [archive cursor], Self::ArchiveCursor(archive, cursor);
    12 = Self::RemoveArchiveCursor(archive), [archive], Self::RemoveArchiveCursor(archive);
    13 = Self::Send(entry), [entry], Self::Send(entry);
    14 = Self::UpdateSent(update), [update], Self::UpdateSent(update);
    15 = Self::ForgetSent(id), [id], Self::ForgetSent(id);
    16 = Self::Session { record, now }, [record now], Self::Session { record, now };
    17 = Self::Handled { h, above, now }, [h above now], Self::Handled { h, above, now };
    18 = Self::SessionRow(row), [row], Self::SessionRow(row);
    19 = Self::EndSession, [], Self::EndSession;
    20 = Self::ReplaceRoster { version, items }, [version items], Self::ReplaceRoster { version, items };
    21 = Self::PutContact { jid, item, version }, [jid item version], Self::PutContact { jid, item, version };
    22 = Self::RemoveContact { jid, version }, [jid version], Self::RemoveContact { jid, version };
    23 = Self::PutCaps { key, info, now }, [key info now], Self::PutCaps { key, info, now };
    24 = Self::PutCredential { name, secret }, [name secret], Self::PutCredential { name, secret };
    25 = Self::DeleteCredential(name), [name], Self::DeleteCredential(name);
    26 = Self::Row(row), [row], Self::Row(row);
    27 = Self::DeleteRows { namespace, prefix }, [namespace prefix], Self::DeleteRows { namespace, prefix };
    28 = Self::Schema { namespace, version }, [namespace version], Self::Schema { namespace, version };
    29 = Self::ForgetNumbers, [], Self::ForgetNumbers;
}
