//! Errors that say their cause once.

/// Lets `?` turn a cause into the variant of an error whose words end with the cause's. Such a variant has no `source`: whoever
/// prints the chain of causes would say it twice.
macro_rules! wraps {
    ($error:ident { $($variant:ident($cause:ty)),+ $(,)? }) => {
        $(impl From<$cause> for $error {
            fn from(cause: $cause) -> Self {
                Self::$variant(cause)
            }
        })+
    };
}

pub(crate) use wraps;
