"""The filters themselves: what conditions them, how they are generated, how they are applied."""

from dynfilt.layers.attention import get_temperature, set_temperature
from dynfilt.layers.bands import BandModulatedConv2d
from dynfilt.layers.choice import (
    KERNEL_ATTENTION,
    DynamicLayer,
    check_dynamic_layer,
    dynamic_layers,
    image_filters,
    is_dynamic,
    named_choice,
)
from dynfilt.layers.condconv import CondConv2d
from dynfilt.layers.convolution import DynamicConv2d
from dynfilt.layers.dcd import DCDConv2d
from dynfilt.layers.ddf import DDFConv2d
from dynfilt.layers.decoupled import conv2d_decoupled
from dynfilt.layers.dyconv import DYConv2d
from dynfilt.layers.fdconv import FDConv2d
from dynfilt.layers.formulation import force_formulation, record_formulations
from dynfilt.layers.generated import GeneratedConv2d, SharedConv2d
from dynfilt.layers.initialisation import draw_kernels
from dynfilt.layers.involution import InvolutionConv2d
from dynfilt.layers.kernel_warehouse import KernelWarehouseConv2d, share_cells
from dynfilt.layers.mixture import conv2d_mixture
from dynfilt.layers.odconv import ODConv2d
from dynfilt.layers.per_position import conv2d_per_position
from dynfilt.layers.per_sample import conv2d_per_sample
from dynfilt.layers.replacement import replace_convolutions
from dynfilt.layers.se import SEConv2d
from dynfilt.layers.varchannel import VarChannelConv2d
from dynfilt.layers.weightnet import WeightNetConv2d

__all__ = [
    "KERNEL_ATTENTION",
    "BandModulatedConv2d",
    "CondConv2d",
    "DCDConv2d",
    "DDFConv2d",
    "DYConv2d",
    "DynamicConv2d",
    "DynamicLayer",
    "FDConv2d",
    "GeneratedConv2d",
    "InvolutionConv2d",
    "KernelWarehouseConv2d",
    "ODConv2d",
    "SEConv2d",
    "SharedConv2d",
    "VarChannelConv2d",
    "WeightNetConv2d",
    "check_dynamic_layer",
    "conv2d_decoupled",
    "conv2d_mixture",
    "conv2d_per_position",
    "conv2d_per_sample",
    "draw_kernels",
    "dynamic_layers",
    "force_formulation",
    "get_temperature",
    "image_filters",
    "is_dynamic",
    "named_choice",
    "record_formulations",
    "replace_convolutions",
    "set_temperature",
    "share_cells",
]
