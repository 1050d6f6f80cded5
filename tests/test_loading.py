"""Models as they are loaded: in which type, on which device, at what cost of memory; and whether they can be trained later."""

from roi_agent.model.local import LocalRegionModel
from tests.small import make_model, make_processor


def test_a_model_that_was_moved_can_still_be_trained() -> None:
    model = make_model()
    local = LocalRegionModel(model, make_processor(model.config))
    local.to("meta")  # a device that every machine has, beside the CPU
    assert model.device.type == "meta"
    assert not [name for name, each in model.named_parameters() if each.is_inference()]
    assert not [name for name, each in model.named_buffers() if each.is_inference()]
