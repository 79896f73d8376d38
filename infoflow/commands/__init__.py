"""The commands of `infoflow`: one frozen dataclass each, whose fields are its flags."""
