"""What ``--help`` teaches: for each command, lines to copy and what they are for.

Owns the examples, in one place so that a test can try each against the command line as it is.
"""

from __future__ import annotations

import typer
from typer.main import get_command_name
from typer.models import CommandInfo

FIRST = (
    ("mindstream up", "start everything; prints the addresses and a login"),
    ("mindstream services", "where everything listens, and which processes run"),
    ("mindstream doctor", "find what is wrong, and what to do about it"),
    ("mindstream projections list", "how far the read models are"),
)
"""Where to begin."""

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "up": (
        ("mindstream up", "on port 8000, or MINDSTREAM_PORT"),
        ("MINDSTREAM_DEMO=0 mindstream up --port 8080", "an empty system on another port"),
    ),
    "run": (
        ("mindstream run projector", "one process, as a container runs it"),
        ("mindstream run worker --name worker-2", "a second one beside the first"),
    ),
    "services": (
        ("mindstream services --json | jq -r .write_dsn", "an address, for another program"),
    ),
    "restart": (
        ("mindstream restart", "every process, for a new version; no request fails"),
        ("mindstream restart read-api gateway", "only these"),
    ),
    "pg": (
        ("mindstream pg pg_dump --format=custom --file=mindstream.dump", "while everything runs"),
        ("mindstream pg pg_restore --list mindstream.dump", "what is in it"),
    ),
    "psql": (
        ("mindstream psql", "as the owner, whom row-level security does not bind"),
        ("mindstream psql --role read -c 'SELECT count(*) FROM journal_entries'", "as the API"),
    ),
    "migrate": (
        ("mindstream migrate --status", "which migrations are missing"),
        ("mindstream migrate --dry-run", "what would be applied"),
        ("mindstream migrate", "apply them"),
        ("mindstream migrate down --yes", "undo the newest, and lose what it holds"),
    ),
    "doctor": (
        ("mindstream doctor", "look at everything"),
        ("mindstream doctor --json | jq '.[] | select(.state != \"ok\")'", "for programs"),
    ),
    "demo": (("mindstream demo", "invented people; says how to log in, again as well"),),
    "completion": (
        ("source <(mindstream completion bash)", "in ~/.bashrc"),
        ("mindstream completion zsh > ~/.zfunc/_mindstream", "for zsh, once"),
        ("mindstream completion fish > ~/.config/fish/completions/mindstream.fish", "for fish"),
    ),
    "config show": (("mindstream config show", "every setting, how it is set and what it means"),),
    "import journal": (
        ("mindstream import journal diary.jsonl --user ada@example.org", "one entry a line"),
    ),
    "import people": (
        ("mindstream import people people.jsonl --dry-run", "only check the lines"),
        ("mindstream import people people.jsonl", "with the hashes of their passwords"),
    ),
    "events read": (
        ("mindstream events read --after 100 --limit 20", "the twenty after position 100"),
        ("mindstream events read --topic journal.EntryWritten.v1 --json", "only one topic"),
    ),
    "events tail": (
        ("mindstream events tail", "what happens from now on"),
        ("mindstream events tail --after 0 --json | jq .topic", "everything, one object a line"),
    ),
    "events export": (
        ("mindstream events export archive.zst --zstd", "sealed, and compressed"),
        (
            "mindstream events export archive.jsonl --keys archive.keys",
            "with the wrapped keys of people, in a file of their own",
        ),
    ),
    "events check": (("mindstream events check archive.jsonl", "whole and unchanged?"),),
    "events import": (
        ("mindstream events import archive.jsonl --keys archive.keys", "into an empty store"),
    ),
    "projections list": (
        ("mindstream projections list", "position, gap and speed of each"),
        ("mindstream projections list --json | jq '.[] | select(.status != \"live\")'", "the ill"),
    ),
    "projections show": (
        ("mindstream projections show journal.entries", "its partitions, owners and blockers"),
    ),
    "projections rebuild": (
        ("mindstream projections rebuild journal.entries --dry-run", "how long it would take"),
        ("mindstream projections rebuild journal.entries", "while readers see the old rows"),
        ("mindstream projections rebuild --all --max-lag-seconds 5", "all, from one reading"),
        (
            "mindstream projections rebuild journal.entries --from 2026-01-01T00:00:00Z",
            "only rows of what changed since then, in place",
        ),
    ),
    "projections verify": (
        ("mindstream projections verify journal.entries", "compare rows with their events"),
    ),
    "projections rollback": (
        ("mindstream projections rollback journal.entries", "serve the generation before"),
    ),
    "projections pause": (("mindstream projections pause journal.search", "let it wait"),),
    "projections resume": (("mindstream projections resume journal.search", "let it go on"),),
    "projections cancel": (
        ("mindstream projections cancel journal.entries", "end its rebuild; live rows stay"),
        ("mindstream projections cancel --all", "whatever is being rebuilt"),
    ),
    "reactions list": (("mindstream reactions list", "how far mail and the like are"),),
    "reactions show": (("mindstream reactions show accounts.reset_mail", "all about one"),),
    "reactions pause": (
        ("mindstream reactions pause accounts.reset_mail", "send nothing for now"),
    ),
    "reactions resume": (("mindstream reactions resume accounts.reset_mail", "send what waited"),),
    "quarantine list": (
        ("mindstream quarantine list --state parked", "what waits for you"),
        ("mindstream quarantine list --projection journal.entries --json", "of one projection"),
    ),
    "quarantine show": (
        ("mindstream quarantine show 0198c0de-0000-7000-8000-000000000000", "all about one"),
    ),
    "quarantine retry": (
        ("mindstream quarantine retry --projection journal.entries", "after it was mended"),
        ("mindstream quarantine retry --all --dry-run", "which ones that would be"),
    ),
    "quarantine discard": (
        (
            "mindstream quarantine discard --error ValueError --reason 'written by a test'",
            "leave them out for good; the reason is kept",
        ),
    ),
    "jobs list": (
        ("mindstream jobs list --state running", "what workers do now"),
        ("mindstream jobs list --kind journal.import --limit 5", "the last five imports"),
    ),
    "jobs show": (
        ("mindstream jobs show 0198c0de-0000-7000-8000-000000000000", "its result, or why not"),
    ),
    "jobs wait": (
        ("mindstream jobs wait 0198c0de-0000-7000-8000-000000000000", "until it has ended"),
    ),
    "jobs cancel": (
        ("mindstream jobs cancel 0198c0de-0000-7000-8000-000000000000", "at its next step"),
    ),
    "subjects erase": (
        ("mindstream subjects erase ada@example.org --dry-run", "how many rows there are"),
        ("mindstream subjects erase ada@example.org --yes --json > report.json", "for good"),
    ),
    "subjects report": (
        ("mindstream subjects report 0198c0de-0000-7000-8000-000000000000", "with its signature"),
    ),
    "keys rotate master": (
        ("mindstream keys rotate master", "a new key seals; earlier ones still open"),
        ("mindstream keys rotate master --discard-old --yes", "older backups open no more"),
    ),
    "keys rotate signing": (("mindstream keys rotate signing", "a new key signs tokens"),),
    "keys export": (("mindstream keys export people.keys", "keep it apart from the archives"),),
}
"""By the words of the command; ids are invented."""


def teach(app: typer.Typer, words: tuple[str, ...] = ()) -> None:
    """Give every command its examples, in all groups below."""
    for command in app.registered_commands:
        name = " ".join((*words, name_of(command)))
        if name in EXAMPLES:
            command.epilog = examples(EXAMPLES[name])
    for group in app.registered_groups:
        if group.typer_instance is not None:
            teach(group.typer_instance, (*words, str(group.name)))


def name_of(command: CommandInfo) -> str:
    """What the command is called: as declared, or after its function."""
    assert command.callback is not None
    return command.name or get_command_name(command.callback.__name__)


def examples(lines: tuple[tuple[str, str], ...], title: str = "Examples:") -> str:
    """The end of a help: command lines to copy, each with what it is for."""
    # The mark keeps the formatter from filling the lines.
    told = [f"  $ {line}\n      {why}" for line, why in lines]
    return "\b\n" + "\n".join([title, *told])
