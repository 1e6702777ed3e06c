"""What the user's own audio is like, measured: durations, speech, pauses, loudness; and the audio profile of it."""

from autotune.audio.survey.measured import Spread, Survey, survey_audio
from autotune.audio.survey.picture import check_can_draw, draw_survey
from autotune.audio.survey.written import profile_text

__all__ = ["Spread", "Survey", "check_can_draw", "draw_survey", "profile_text", "survey_audio"]
