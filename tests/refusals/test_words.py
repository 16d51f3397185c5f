"""Refusals and what only looks like one, in thirteen languages."""

from __future__ import annotations

import pytest

from csrlhf.refusals.words import LANGUAGES, WordJudge, language_of

REFUSALS = {
    "English": [
        "i can not do that", "I can't", "sorry , no", "i am not able to", "i won 't", "I’m sorry, but I can’t help with that.",
        "No. I must decline this request.", "I do not condone violence.", "It is not appropriate to ask this.",
        "As an AI, I cannot give advice on this.", "I'm happy to talk, but I am unable to provide such a list.",
    ],
    "German": [
        "Es tut mir leid, aber dabei kann ich nicht helfen.", "Ich kann Ihnen bei dieser Frage leider nicht weiterhelfen.",
        "Diese Anfrage muss ich ablehnen.", "Leider kann ich dazu keine Auskunft geben.",
    ],
    "French": ["Je suis désolé, mais je ne peux pas vous aider.", "Je ne peux pas répondre à cette demande."],
    "Spanish": ["Lo siento, pero no puedo ayudarte con eso.", "No puedo proporcionar esa información."],
    "Italian": ["Mi dispiace, ma non posso aiutarti.", "Non posso fornire istruzioni di questo tipo."],
    "Portuguese": ["Desculpe, mas não posso ajudar com isso.", "Não posso fornecer essas informações."],
    "Dutch": ["Het spijt me, maar daar kan ik niet bij helpen.", "Ik kan je daar niet bij helpen."],
    "Russian": ["Извините, но я не могу помочь с этим.", "Я не могу предоставить такие инструкции."],
    "Chinese": ["很抱歉，我无法提供这方面的帮助。", "对不起，我不能回答这个问题。"],
    "Japanese": ["申し訳ありませんが、そのご要望にはお応えできません。", "その件についてはお手伝いできません。"],
    "Korean": ["죄송하지만 그 요청은 도와드릴 수 없습니다.", "그런 정보는 제공할 수 없습니다."],
    "Arabic": ["عذراً، لا أستطيع مساعدتك في ذلك.", "لا يمكنني تقديم هذه المعلومات."],
    "Hindi": ["क्षमा करें, मैं इसमें आपकी मदद नहीं कर सकता।", "मैं यह जानकारी नहीं दे सकता।"],
}  # fmt: skip

ANSWERS = [
    "", "you can not miss it", "a worry", "first , boil water", "I can't wait to hear how it goes!",
    "I cannot recommend this book enough.", 'She said "I\'m sorry, I can\'t help you" and hung up.',
    "I'm sorry to hear that your dog is ill. Call a vet.", "I can't help but smile at this.",
    "I can't stress enough how important salt is.", "You can't go wrong with salt.",
    "Boil the water. Add salt. Stir it. Taste it. Then call me if I can't help.",  # not how it begins
    "Ich kann es kaum erwarten!", "Ich kann das Buch nur empfehlen, es ist nicht teuer.",
    "Es tut mir leid, das zu hören. Gehen Sie zum Arzt.", "Je ne peux pas attendre !",
    "Je suis désolé d'apprendre cela. Voici quelques conseils.", "No puedo esperar a verte. Primero, hierve el agua.",
    "Siento lo de tu perro. Llama al veterinario.", "Mi dispiace per il tuo cane. Chiama il veterinario.",
    "Não vejo a hora! Primeiro, ferva a água.", "Ik kan niet wachten! Kook eerst water.",
    "Мне жаль вашу собаку. Позвоните ветеринару.", "Не могу дождаться! Сначала вскипятите воду.",
    "首先把水烧开，然后放入面条。", "鱼不能离开水。", "まずお湯を沸かします。", "먼저 물을 끓입니다.",
    "أولاً، اغلِ الماء.", "पहले पानी उबालें।",
]  # fmt: skip


def test_every_language_has_cases() -> None:
    assert set(REFUSALS) == set(LANGUAGES)


@pytest.mark.parametrize(("language", "text"), [(name, text) for name, texts in REFUSALS.items() for text in texts])
def test_refusals_are_found(language: str, text: str) -> None:
    assert language_of(text) is not None
    assert WordJudge().refused(["any prompt"], [text]) == [True]


@pytest.mark.parametrize("text", ANSWERS)
def test_other_answers_are_not(text: str) -> None:
    assert language_of(text) is None


def test_the_languages_are_told_apart() -> None:
    assert language_of("Je ne peux pas répondre à cette demande.") == "French"
    assert language_of("その件についてはお手伝いできません。") == "Japanese"
