"""The published GPT4RoI weights as our model: a delta on LLaMA, or merged; checked whole before a byte is moved.

names and shapes of all files -> configuration -> plan (every key has its place, or nothing happens) -> weights, block by block.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from transformers import LlamaTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils import logging as library_logging

from roi_agent.model.configuration import GPT4RoIConfig
from roi_agent.model.errors import CheckpointMismatch, InvalidSetting, MissingExtra, ModelNotFound
from roi_agent.model.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.processing import GPT4RoIProcessor, new_processor, register_special_tokens
from roi_agent.model.published import our_name, published_config, read_config, rename_published, token_ids, vision_config
from roi_agent.model.shards import WeightFolder, is_weight_folder
