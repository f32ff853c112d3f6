"""The validation with its pictures decoded in the process of the test."""

from __future__ import annotations

from api.decoding import pictures
from api.decoding.job import PictureFault
from api.parameters import GenerationParameters, of_picture
from api.validation import Validation
from contract.request import GenerationRequest


class Validated(Validation):
    def request(self, parameters: GenerationParameters, request_id: str) -> GenerationRequest:
        """The request that parameters make."""
        draft = self.draft(parameters, request_id)
        if draft.job is None:
            return draft.request
        files = [
            bytes(file) for file in (parameters.init_image, parameters.mask) if file is not None
        ]
        try:
            decoded = pictures.run(draft.job, files, lambda field: None)
        except PictureFault as fault:
            raise of_picture(fault) from None
        return self.completed(draft, decoded)
