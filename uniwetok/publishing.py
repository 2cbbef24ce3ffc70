"""Publishing a model on the Hugging Face Hub, with a card that holds what it was measured at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi

_CARD_FILE = "README.md"


class Published:
    """A model that has ``save_pretrained``, and can be published as that writes it."""

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model into a folder."""
        raise NotImplementedError

    def push_to_hub(
        self,
        repo: str,
        *,
        records: Sequence[str | Path] = (),
        license: str | None = None,
        private: bool = False,
        token: str | None = None,
    ) -> str:
        """Upload the model and its card; the repository is made where there is none.

        Args:
            repo: OWNER/NAME on the Hub.
            records: of evaluations of this very model: run directories of `uwt-eval run`, or their
                record files. Their metrics are the card's ``model-index``, as `uwt-eval export`
                writes it.
            license: of the weights, as the Hub names it, such as "apache-2.0".
            private: whether others may not see a repository that is made.
            token: of the Hub; None for the one of `hf auth login`.

        Returns:
            The commit's address.

        Raises:
            ValueError: a record cannot be read, or they are of several models.
            huggingface_hub.errors.HfHubHTTPError: the Hub refuses.
        """
        # Only who publishes needs the harness, which knows the records.
        from uniwetok.plugins.cards import make_card

        card = make_card(repo, type(self).__name__, records, license)
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            card.save(Path(folder) / _CARD_FILE)
            api = HfApi(token=token)
            api.create_repo(repo, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=repo, folder_path=folder))
