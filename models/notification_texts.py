"""What people read when something happens to their escrow, in English and Thai. Data only; ``notifications`` fills it.

A line whose value an event lacks (``{reason}`` where none was given) is left out. ``concerned`` is the side whose money
the event is about. An event with an empty row is told to nobody, and the comment says why.

Why compliance holds somebody's money is for operators alone: it may name a suspicion, which its subject must not read.
"""

# A sentence stays on one line, beside its translation.
# ruff: noqa: E501
# fmt: off

from types import MappingProxyType
from typing import Final

from models.telling import Language, Telling

_BOTH: Final = ("buyer", "seller")
_ALL: Final = ("buyer", "seller", "operator")

REHEARSAL: Final[MappingProxyType[Language, str]] = MappingProxyType({"en": "[TEST]", "th": "[ทดสอบ]"})
FOOTER: Final[MappingProxyType[Language, str]] = MappingProxyType(
    {"en": "Escrow {escrow}, event {event}", "th": "รหัสรายการ {escrow} รหัสเหตุการณ์ {event}"}
)

RESOLUTIONS: Final = MappingProxyType(
    {
        "buyer_favor": {"en": "in the buyer's favour", "th": "ให้เป็นไปตามคำร้องของผู้ซื้อ"},
        "seller_favor": {"en": "in the seller's favour", "th": "ให้เป็นไปตามคำร้องของผู้ขาย"},
        "partial_refund": {"en": "part of the money returns to the buyer", "th": "คืนเงินบางส่วนให้ผู้ซื้อ"},
        "split": {"en": "the money is divided between buyer and seller", "th": "แบ่งเงินระหว่างผู้ซื้อและผู้ขาย"},
        "mediation": {"en": "both sides go back to work", "th": "ให้ทั้งสองฝ่ายดำเนินงานต่อ"},
        "charged_back": {"en": "the buyer's bank has taken the money back", "th": "ธนาคารของผู้ซื้อเรียกเงินคืนแล้ว"},
    }
)

UNKNOWN_EVENT: Final = Telling(
    to=("operator",),
    en=("{type} on “{title}”", "{type} was recorded.\nDetails: {details}"),
    th=("{type} ในรายการ “{title}”", "ระบบบันทึกเหตุการณ์ {type}\nรายละเอียด: {details}"),
)

_ESCROW: Final[dict[str, tuple[Telling, ...]]] = {
    "escrow.created": (
        Telling(
            to=("buyer",),
            en=("Your agreement “{title}” is ready", "The agreement over {amount} was set up. Work can begin once you have funded it."),
            th=("รายการ “{title}” พร้อมแล้ว", "สร้างข้อตกลงมูลค่า {amount} เรียบร้อยแล้ว ผู้ขายจะเริ่มงานได้เมื่อคุณชำระเงินเข้าระบบ"),
        ),
        Telling(
            to=("seller",),
            en=("New agreement “{title}”", "An agreement over {amount} was set up with you. We will tell you as soon as the buyer has funded it."),
            th=("มีรายการใหม่ “{title}”", "มีการสร้างข้อตกลงมูลค่า {amount} กับคุณ เราจะแจ้งให้ทราบทันทีที่ผู้ซื้อชำระเงินเข้าระบบ"),
        ),
    ),
    "escrow.amended": (
        Telling(
            to=_BOTH,
            en=("“{title}” was changed", "The agreement was changed before funding. It is now over {amount}; please check the milestones."),
            th=("รายการ “{title}” มีการแก้ไข", "ข้อตกลงถูกแก้ไขก่อนการชำระเงิน มูลค่าปัจจุบันคือ {amount} โปรดตรวจสอบงวดงานอีกครั้ง"),
        ),
    ),
    "escrow.funded": (
        Telling(
            to=("buyer",),
            en=("Your payment for “{title}” is held safely", "We hold {amount} for you. The seller is paid only for what has been approved."),
            th=("เราพักเงินสำหรับ “{title}” ไว้อย่างปลอดภัยแล้ว", "เราพักเงินจำนวน {amount} ไว้ให้คุณ ผู้ขายจะได้รับเงินเฉพาะงานที่ได้รับการอนุมัติเท่านั้น"),
        ),
        Telling(
            to=("seller",),
            en=("“{title}” is funded", "The buyer has paid {amount} and we hold it. You can start work."),
            th=("ผู้ซื้อชำระเงินสำหรับ “{title}” แล้ว", "ผู้ซื้อชำระเงินจำนวน {amount} และเราพักเงินไว้แล้ว คุณเริ่มงานได้เลย"),
        ),
    ),
    "escrow.started": (
        Telling(
            to=("buyer",),
            en=("Work on “{title}” has begun", "The seller has started work."),
            th=("งาน “{title}” เริ่มแล้ว", "ผู้ขายเริ่มดำเนินงานแล้ว"),
        ),
    ),
    "escrow.completed": (
        Telling(
            to=_BOTH,
            en=("“{title}” is completed", "The agreement is completed; nothing is held in escrow for it any more. We tell you about payouts separately."),
            th=("รายการ “{title}” เสร็จสมบูรณ์", "รายการนี้เสร็จสมบูรณ์แล้ว และไม่มีเงินพักไว้สำหรับรายการนี้อีก เราจะแจ้งเรื่องการจ่ายเงินแยกต่างหาก"),
        ),
    ),
    "escrow.cancelled": (
        Telling(
            to=_BOTH,
            en=("“{title}” was cancelled", "The agreement was cancelled. What was still held has gone back to the buyer; what was approved stays with the seller.\nReason: {reason}"),
            th=("รายการ “{title}” ถูกยกเลิก", "รายการนี้ถูกยกเลิก เงินที่ยังพักไว้คืนให้ผู้ซื้อแล้ว ส่วนงานที่อนุมัติไปแล้วยังเป็นของผู้ขาย\nเหตุผล: {reason}"),
        ),
    ),
    "escrow.refunded": (
        Telling(
            to=_BOTH,
            en=("“{title}” was refunded", "The money held for this agreement has gone back to the buyer.\nReason: {reason}"),
            th=("คืนเงินสำหรับ “{title}” แล้ว", "เงินที่พักไว้สำหรับรายการนี้คืนให้ผู้ซื้อแล้ว\nเหตุผล: {reason}"),
        ),
    ),
}

_MILESTONES: Final[dict[str, tuple[Telling, ...]]] = {
    "milestone.added": (
        Telling(
            to=_BOTH,
            en=("“{milestone}” was added to “{title}”", "The milestone “{milestone}” over {amount} was added to “{title}” before funding. Please check the agreement."),
            th=("เพิ่มงวดงาน “{milestone}” ใน “{title}”", "มีการเพิ่มงวดงาน “{milestone}” มูลค่า {amount} ใน “{title}” ก่อนการชำระเงิน โปรดตรวจสอบข้อตกลงอีกครั้ง"),
        ),
    ),
    "milestone.changed": (
        Telling(
            to=_BOTH,
            en=("“{milestone}” was changed", "The milestone “{milestone}” of “{title}” was changed before funding. It is now over {amount}; please check what was agreed."),
            th=("งวดงาน “{milestone}” มีการแก้ไข", "งวดงาน “{milestone}” ของ “{title}” ถูกแก้ไขก่อนการชำระเงิน มูลค่าปัจจุบันคือ {amount} โปรดตรวจสอบข้อตกลงอีกครั้ง"),
        ),
    ),
    "milestone.submitted": (
        Telling(
            to=("buyer",),
            en=("Please review “{milestone}”", "The seller has submitted “{milestone}” of “{title}”. Please review it: approve it, or send it back with your reason."),
            th=("โปรดตรวจรับงวดงาน “{milestone}”", "ผู้ขายส่งมอบงวดงาน “{milestone}” ของ “{title}” แล้ว โปรดตรวจสอบ แล้วอนุมัติหรือส่งกลับพร้อมเหตุผล"),
        ),
    ),
    "milestone.withdrawn": (
        Telling(
            to=("buyer",),
            en=("“{milestone}” was withdrawn", "The seller has withdrawn “{milestone}” of “{title}” before your review. There is nothing to do until it is submitted again."),
            th=("ผู้ขายถอนงวดงาน “{milestone}”", "ผู้ขายถอนการส่งมอบงวดงาน “{milestone}” ของ “{title}” ก่อนการตรวจรับ คุณไม่ต้องดำเนินการใด ๆ จนกว่าจะมีการส่งมอบใหม่"),
        ),
    ),
    "milestone.approved": (
        Telling(
            to=("seller",),
            en=("“{milestone}” is approved", "The buyer has approved “{milestone}”. {amount} of “{title}” is released to you, less any fee that you bear. We tell you about the payout separately."),
            th=("งวดงาน “{milestone}” ได้รับการอนุมัติ", "ผู้ซื้ออนุมัติงวดงาน “{milestone}” แล้ว เราปล่อยเงิน {amount} ของ “{title}” ให้คุณแล้ว โดยหักเฉพาะค่าธรรมเนียมส่วนที่คุณรับผิดชอบ (ถ้ามี) และจะแจ้งเรื่องการจ่ายเงินแยกต่างหาก"),
        ),
    ),
    "milestone.auto_approved": (
        Telling(
            to=_BOTH,
            en=("“{milestone}” was approved automatically", "The review period for “{milestone}” of “{title}” has ended, so it was approved. {amount} is released to the seller."),
            th=("งวดงาน “{milestone}” ได้รับการอนุมัติโดยอัตโนมัติ", "ครบกำหนดเวลาตรวจรับงวดงาน “{milestone}” ของ “{title}” ระบบจึงอนุมัติโดยอัตโนมัติ และปล่อยเงิน {amount} ให้ผู้ขายแล้ว"),
        ),
    ),
    "milestone.rejected": (
        Telling(
            to=("seller",),
            en=("“{milestone}” needs more work", "The buyer has sent back “{milestone}” of “{title}”. You can submit it again.\nReason: {reason}"),
            th=("งวดงาน “{milestone}” ต้องแก้ไข", "ผู้ซื้อส่งงวดงาน “{milestone}” ของ “{title}” กลับให้แก้ไข คุณส่งมอบใหม่ได้เมื่อแก้ไขแล้ว\nเหตุผล: {reason}"),
        ),
    ),
    "milestone.reversed": (
        Telling(
            to=_BOTH,
            en=("{amount} of “{milestone}” goes back to the buyer", "{amount} of “{milestone}” of “{title}” has gone back to the buyer before release.\nReason: {reason}"),
            th=("คืนเงิน {amount} ของงวดงาน “{milestone}” ให้ผู้ซื้อ", "คืนเงิน {amount} ของงวดงาน “{milestone}” ใน “{title}” ให้ผู้ซื้อก่อนการปล่อยเงินแล้ว\nเหตุผล: {reason}"),
        ),
    ),
    "milestone.clawed_back": (
        Telling(
            to=_ALL,
            en=("{amount} of “{milestone}” was taken back", "{amount} of “{milestone}” of “{title}” was taken back after it had been released.\nReason: {reason}"),
            th=("เรียกคืนเงิน {amount} ของงวดงาน “{milestone}”", "เงิน {amount} ของงวดงาน “{milestone}” ใน “{title}” ถูกเรียกคืนหลังจากปล่อยเงินไปแล้ว\nเหตุผล: {reason}"),
        ),
    ),
    "milestone.reminder_due": (
        Telling(
            to=("buyer",),
            en=("Reminder: please review “{milestone}”", "“{milestone}” of “{title}” is waiting for your review. Unless you act, it will be approved automatically when the review period ends."),
            th=("แจ้งเตือน: โปรดตรวจรับงวดงาน “{milestone}”", "งวดงาน “{milestone}” ของ “{title}” รอการตรวจรับจากคุณ หากคุณไม่ดำเนินการ ระบบจะอนุมัติโดยอัตโนมัติเมื่อครบกำหนดเวลาตรวจรับ"),
        ),
    ),
}

_DISPUTES: Final[dict[str, tuple[Telling, ...]]] = {
    "dispute.opened": (
        Telling(
            to=_ALL,
            en=("A dispute was opened on “{title}”", "{amount} is frozen until the dispute is resolved. Both sides can add evidence."),
            th=("มีการเปิดข้อพิพาทในรายการ “{title}”", "ระงับเงินจำนวน {amount} ไว้จนกว่าข้อพิพาทจะได้ข้อยุติ ทั้งสองฝ่ายเพิ่มหลักฐานได้"),
        ),
    ),
    "dispute.evidence_added": (
        Telling(
            to=_ALL,
            en=("New evidence in the dispute on “{title}”", "New evidence was added to the dispute."),
            th=("มีหลักฐานใหม่ในข้อพิพาทของ “{title}”", "มีการเพิ่มหลักฐานใหม่ในข้อพิพาท"),
        ),
    ),
    "dispute.under_review": (
        Telling(
            to=_BOTH,
            en=("Your dispute on “{title}” is being reviewed", "An operator has taken the dispute and is reviewing it."),
            th=("ข้อพิพาทของ “{title}” อยู่ระหว่างการพิจารณา", "เจ้าหน้าที่รับเรื่องและกำลังพิจารณาข้อพิพาท"),
        ),
    ),
    "dispute.resolved": (
        Telling(
            to=_BOTH,
            en=("The dispute on “{title}” is resolved", "The dispute was resolved.\nDecision: {resolution}."),
            th=("ข้อพิพาทของ “{title}” ได้ข้อยุติแล้ว", "การพิจารณาข้อพิพาทเสร็จสิ้นแล้ว\nคำตัดสิน: {resolution}"),
        ),
    ),
    "dispute.defaulted": (
        Telling(
            to=_ALL,
            en=("The dispute on “{title}” ended by default", "Nobody acted in time, so the dispute ended as the policy says.\nDecision: {resolution}."),
            th=("ข้อพิพาทของ “{title}” สิ้นสุดโดยอัตโนมัติ", "ไม่มีฝ่ายใดดำเนินการภายในกำหนด ข้อพิพาทจึงสิ้นสุดตามนโยบายที่กำหนดไว้\nคำตัดสิน: {resolution}"),
        ),
    ),
    "dispute.closed": (
        Telling(
            to=_BOTH,
            en=("The dispute on “{title}” is closed", "The dispute is closed."),
            th=("ปิดข้อพิพาทของ “{title}” แล้ว", "ปิดข้อพิพาทเรียบร้อยแล้ว"),
        ),
    ),
}

_HELD_FOR_OPERATORS: Final = Telling(
    to=("operator",),
    en=("Payout of {amount} for “{title}” is on hold", "Payout {payout} waits.\nHold: {hold}\nReason: {reason}"),
    th=("การจ่ายเงิน {amount} ของ “{title}” ถูกพักไว้", "การจ่ายเงิน {payout} อยู่ระหว่างรอดำเนินการ\nประเภทการพัก: {hold}\nเหตุผล: {reason}"),
)

# What is told of ``payout.held``, by the hold. Operators hear only of those that may need them.
HOLDS: Final[MappingProxyType[str, tuple[Telling, ...]]] = MappingProxyType(
    {
        "clearance": (
            Telling(
                to=("concerned",),
                en=("Your payout for “{title}” is clearing", "Your payout of {amount} waits until it has cleared. There is nothing for you to do."),
                th=("เงินสำหรับ “{title}” อยู่ในช่วงรอเคลียร์ยอด", "การจ่ายเงิน {amount} ให้คุณต้องรอจนกว่าจะเคลียร์ยอดเสร็จ คุณไม่ต้องดำเนินการใด ๆ"),
            ),
        ),
        "manual": (
            Telling(
                to=("concerned",),
                en=("Your payout for “{title}” is ready", "Your payout of {amount} waits until you ask for it."),
                th=("เงินสำหรับ “{title}” พร้อมให้เบิกแล้ว", "การจ่ายเงิน {amount} ให้คุณรอให้คุณแจ้งขอเบิก"),
            ),
        ),
        "minimum": (
            Telling(
                to=("concerned",),
                en=("Your payout for “{title}” is carried forward", "{amount} is below the smallest payout. It is kept for you until enough has come together."),
                th=("เงินสำหรับ “{title}” ยกไปรวมกับรอบถัดไป", "ยอดเงิน {amount} ยังไม่ถึงยอดจ่ายขั้นต่ำ เราเก็บไว้ให้คุณจนกว่ายอดรวมจะครบขั้นต่ำ"),
            ),
        ),
        "kyc": (
            Telling(
                to=("concerned",),
                en=("Your payout for “{title}” waits for your verification", "Your identity has to be verified before {amount} can be sent to you. The money is safe."),
                th=("การจ่ายเงินสำหรับ “{title}” รอการยืนยันตัวตนของคุณ", "คุณต้องยืนยันตัวตนก่อนที่เราจะส่งเงิน {amount} ให้คุณได้ เงินยังปลอดภัย"),
            ),
            _HELD_FOR_OPERATORS,
        ),
        "blocked": (
            Telling(
                to=("concerned",),
                en=("A payout for “{title}” is on hold", "This money cannot move at the moment; please contact support."),
                th=("การจ่ายเงินสำหรับ “{title}” ถูกพักไว้", "ขณะนี้ยังไม่สามารถเคลื่อนย้ายเงินจำนวนนี้ได้ โปรดติดต่อฝ่ายสนับสนุน"),
            ),
            _HELD_FOR_OPERATORS,
        ),
        "chargeback": (
            Telling(
                to=("concerned",),
                en=("Your payout for “{title}” waits for the bank", "The payment for this agreement is contested. {amount} waits until the buyer's bank has decided."),
                th=("การจ่ายเงินสำหรับ “{title}” รอผลจากธนาคาร", "การชำระเงินของรายการนี้ถูกโต้แย้ง เงิน {amount} ต้องรอจนกว่าธนาคารของผู้ซื้อจะตัดสิน"),
            ),
            _HELD_FOR_OPERATORS,
        ),
    }
)

_MONEY: Final[dict[str, tuple[Telling, ...]]] = {
    "settlement.posted": (),  # the approval, resolution or end that it settles is told
    "payout.due": (),  # it is sent at once, or held, which is told
    "payout.sent": (
        Telling(
            to=("concerned",),
            en=("{amount} is on its way to you", "We have sent {amount} for “{title}” to your account."),
            th=("กำลังโอนเงิน {amount} ให้คุณ", "เราส่งเงินจำนวน {amount} สำหรับ “{title}” ไปยังบัญชีของคุณแล้ว"),
        ),
    ),
    "payout.paid": (
        Telling(
            to=("concerned",),
            en=("{amount} was paid to you", "The payment provider has confirmed your payout of {amount} for “{title}”."),
            th=("จ่ายเงิน {amount} ให้คุณแล้ว", "ผู้ให้บริการชำระเงินยืนยันการจ่ายเงิน {amount} สำหรับ “{title}” ให้คุณแล้ว"),
        ),
    ),
    "payout.unknown": (
        Telling(
            to=("operator",),
            en=("Payout of {amount} for “{title}”: outcome unknown", "The provider has not said what became of payout {payout}. The money stays in transit and we keep asking.\nProvider: {reason}"),
            th=("ยังไม่ทราบผลการจ่ายเงิน {amount} ของ “{title}”", "ผู้ให้บริการยังไม่แจ้งผลของการจ่ายเงิน {payout} เงินยังอยู่ระหว่างโอน และระบบกำลังสอบถามต่อ\nผู้ให้บริการแจ้งว่า: {reason}"),
        ),
    ),
    "payout.failed": (
        Telling(
            to=("concerned", "operator"),
            en=("A payout for “{title}” failed", "The payout did not go through. The money is safe and can be sent again; please check the payout details.\nReason: {reason}"),
            th=("การจ่ายเงินสำหรับ “{title}” ไม่สำเร็จ", "การจ่ายเงินไม่สำเร็จ เงินยังปลอดภัยและส่งใหม่ได้ โปรดตรวจสอบข้อมูลบัญชีรับเงิน\nเหตุผล: {reason}"),
        ),
    ),
    "payout.held": (  # a hold without words of its own in HOLDS
        Telling(
            to=("concerned",),
            en=("A payout for “{title}” is on hold", "The payout of {amount} waits; the money is safe."),
            th=("การจ่ายเงินสำหรับ “{title}” ถูกพักไว้", "การจ่ายเงิน {amount} อยู่ระหว่างรอดำเนินการ เงินยังปลอดภัย"),
        ),
        _HELD_FOR_OPERATORS,
    ),
    "payout.returned": (
        Telling(
            to=("concerned", "operator"),
            en=("A payout for “{title}” came back", "The receiving bank has returned the payout. We hold the money for you; please give us another account.\nReason: {reason}"),
            th=("เงินที่จ่ายสำหรับ “{title}” ถูกตีกลับ", "ธนาคารผู้รับตีกลับเงินที่จ่ายไป เราเก็บเงินไว้ให้คุณ โปรดแจ้งบัญชีรับเงินใหม่\nเหตุผล: {reason}"),
        ),
    ),
    "payout.cancelled": (
        Telling(
            to=("concerned",),
            en=("A payout for “{title}” was cancelled", "The payout will not be sent.\nReason: {reason}"),
            th=("การจ่ายเงินสำหรับ “{title}” ถูกยกเลิก", "จะไม่มีการส่งเงินรายการนี้\nเหตุผล: {reason}"),
        ),
    ),
    "chargeback.opened": (
        Telling(
            to=_ALL,
            en=("The payment for “{title}” is contested", "The buyer's bank contests {amount}. The contested money is held until the bank decides.\nReason: {reason}"),
            th=("มีการโต้แย้งการชำระเงินของ “{title}”", "ธนาคารของผู้ซื้อโต้แย้งการชำระเงิน {amount} เงินส่วนนี้จะถูกกันไว้จนกว่าธนาคารจะตัดสิน\nเหตุผล: {reason}"),
        ),
    ),
    "chargeback.won": (
        Telling(
            to=_ALL,
            en=("The contested payment for “{title}” stands", "The bank has decided that the payment stands; {amount} is available for this agreement again."),
            th=("การชำระเงินของ “{title}” ที่ถูกโต้แย้งได้รับการยืนยันแล้ว", "ธนาคารตัดสินให้การชำระเงินมีผลสมบูรณ์ เงิน {amount} กลับมาใช้กับรายการนี้ได้ตามเดิม"),
        ),
    ),
    "chargeback.lost": (
        Telling(
            to=_ALL,
            en=("The contested payment for “{title}” was reversed", "The bank has returned {amount} to the buyer's payment method; it is no longer available for this agreement."),
            th=("การชำระเงินของ “{title}” ที่ถูกโต้แย้งถูกเรียกคืน", "ธนาคารคืนเงิน {amount} ไปยังช่องทางชำระเงินของผู้ซื้อ เงินส่วนนี้ใช้กับรายการนี้ไม่ได้อีก"),
        ),
    ),
    "receivable.recorded": (
        Telling(
            to=("concerned_seller",),
            en=("You owe {amount} for “{title}”", "{amount} could not be taken and is now owed to the platform. It will be set off against your coming payouts.\nReason: {reason}"),
            th=("คุณมียอดค้างชำระ {amount} ของ “{title}”", "ไม่สามารถหักเงินจำนวน {amount} ได้ จึงบันทึกเป็นยอดค้างชำระต่อแพลตฟอร์ม และจะหักจากการจ่ายเงินครั้งต่อไปของคุณ\nเหตุผล: {reason}"),
        ),
        Telling(
            to=("concerned_buyer",),
            en=("You owe {amount} for “{title}”", "{amount} could not be taken and is now owed to the platform.\nReason: {reason}"),
            th=("คุณมียอดค้างชำระ {amount} ของ “{title}”", "ไม่สามารถหักเงินจำนวน {amount} ได้ จึงบันทึกเป็นยอดค้างชำระต่อแพลตฟอร์ม\nเหตุผล: {reason}"),
        ),
        Telling(
            to=("operator",),
            en=("{amount} is owed for “{title}”", "{amount} could not be taken and is now owed to the platform.\nReason: {reason}"),
            th=("มียอดค้างชำระ {amount} ของ “{title}”", "ไม่สามารถหักเงินจำนวน {amount} ได้ จึงบันทึกเป็นยอดค้างชำระต่อแพลตฟอร์ม\nเหตุผล: {reason}"),
        ),
    ),
    "receivable.netted": (
        Telling(
            to=("concerned",),
            en=("{amount} was set off against what you owe", "{amount} of your earnings from “{title}” was set off against what you owe the platform."),
            th=("หักยอดค้างชำระ {amount} แล้ว", "หักเงิน {amount} จากรายได้ของคุณใน “{title}” เพื่อชำระยอดที่ค้างต่อแพลตฟอร์มแล้ว"),
        ),
    ),
    "deadline.deferred": (
        Telling(
            to=("operator",),
            en=("A deadline of “{title}” could not take effect", "The deadline ({kind}) was refused with {code} and is put off; it needs you."),
            th=("ระบบดำเนินการตามกำหนดเวลาของ “{title}” ไม่ได้", "กำหนดเวลา ({kind}) ถูกปฏิเสธด้วย {code} และถูกเลื่อนออกไป โปรดตรวจสอบ"),
        ),
    ),
    "command.refused": (),  # whoever sent it was answered; the audit has it
}

_TENANTS: Final[dict[str, tuple[Telling, ...]]] = {
    "webhook_endpoint.disabled": (
        Telling(
            to=("operator",),
            en=("A webhook endpoint was switched off", "A webhook endpoint did not take its events and is sent no more until it is enabled again.\nWhich one: GET /v1/events/{event}"),
            th=("ระบบปิดการส่ง webhook ไปยังปลายทางหนึ่ง", "ปลายทาง webhook ไม่รับเหตุการณ์ที่ส่งไป ระบบจึงหยุดส่งจนกว่าจะเปิดใช้งานอีกครั้ง\nดูปลายทางได้ที่ GET /v1/events/{event}"),
        ),
    ),
}

EVENTS: Final = MappingProxyType(_ESCROW | _MILESTONES | _DISPUTES | _MONEY | _TENANTS)
