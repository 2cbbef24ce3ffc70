from .adversarial import (
    DiscriminatorLoss as DiscriminatorLoss,
    DiscriminatorTerms as DiscriminatorTerms,
    PatchDiscriminator as PatchDiscriminator,
)
from .config import (
    AdversarialConfig as AdversarialConfig,
    DistillationConfig as DistillationConfig,
    EntropyConfig as EntropyConfig,
    MissingWeights as MissingWeights,
    PriorConfig as PriorConfig,
    TokenizerLossConfig as TokenizerLossConfig,
    commitment_weight as commitment_weight,
)
from .perceptual import Lpips as Lpips
from .prior import GenerativeAwarePrior as GenerativeAwarePrior
from .teachers import (
    EfficientNetLiteTeacher as EfficientNetLiteTeacher,
    OpenClipTeacher as OpenClipTeacher,
    Teacher as Teacher,
)
from .total import TokenizerLoss as TokenizerLoss, TokenizerTerms as TokenizerTerms
