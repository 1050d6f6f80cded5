"""The declarations of all tools, in the order in which planners see them."""

from roi_agent.tools.abilities.asking import ASK_ABOUT_REGIONS, ASK_EACH_REGION, CHOOSE_ANSWER
from roi_agent.tools.abilities.finding import FIND_REGIONS, SEGMENT_EVERYTHING, SEGMENT_REGIONS
from roi_agent.tools.abilities.listing import ADD_REGION, LIST_REGIONS
from roi_agent.tools.abilities.measuring import COMPARE_REGIONS, COUNT_REGIONS, ORDER_REGIONS, SELECT_REGIONS
from roi_agent.tools.abilities.viewing import LOOK_AT_IMAGE, ZOOM_IN
from roi_agent.tools.ability import Ability

ABILITIES: dict[str, Ability] = {
    ability.name: ability
    for ability in (
        FIND_REGIONS,
        SEGMENT_REGIONS,
        SEGMENT_EVERYTHING,
        ADD_REGION,
        LIST_REGIONS,
        ASK_ABOUT_REGIONS,
        ASK_EACH_REGION,
        CHOOSE_ANSWER,
        COMPARE_REGIONS,
        ORDER_REGIONS,
        SELECT_REGIONS,
        COUNT_REGIONS,
        LOOK_AT_IMAGE,
        ZOOM_IN,
    )
}
