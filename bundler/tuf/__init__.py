"""TUF repositories, captured whole: what a far side needs to follow its pinned roots."""
