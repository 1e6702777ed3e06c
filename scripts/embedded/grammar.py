"""A small grammar of everyday Mandarin: what the embedded model and the embedded clips say.

``{name}`` expands to one of the rule's alternatives at random, repeatedly; everything else is spoken as it stands.
Rich enough to be interesting (over 500 distinct characters, millions of sentences), small enough to be learnt from a
few hours of speech.
"""

# ruff: noqa: E501 - Chinese characters count as two columns each

from __future__ import annotations

import random
import re

__all__ = ["characters", "sentence", "spoken"]

RULES: dict[str, list[str]] = {
    "digit": list("一二三四五六七八九"),
    "digit0": list("零一二三四五六七八九"),
    "tens": ["十", "二十", "三十", "四十", "五十", "六十", "七十", "八十", "九十"],
    "small": ["{digit}", "十{digit}", "{tens}", "{tens}{digit}"],
    "number": ["{small}", "{small}", "{digit}百{tens}{digit}", "{digit}百零{digit}", "{digit}千{digit}百", "{digit}万{digit}千"],
    "percent": ["百分之{small}", "百分之{small}点{digit}"],
    "phone": ["{digit0}{digit0}{digit0}{digit0}", "{digit}{digit0}{digit0}{digit0}{digit0}{digit0}"],
    "hour": ["一点", "两点", "三点", "四点", "五点", "六点", "七点", "八点", "九点", "十点", "十一点", "十二点"],
    "minute": ["", "", "半", "一刻", "零五分", "十分", "二十分", "四十五分"],
    "period": ["早上", "上午", "中午", "下午", "傍晚", "晚上", "半夜"],
    "clock": ["{period}{hour}{minute}", "{hour}{minute}"],
    "weekday": ["星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期天", "周末"],
    "day": ["今天", "明天", "后天", "昨天", "前天", "{weekday}", "下{weekday}", "{month}{small}号"],
    "month": ["一月", "二月", "三月", "四月", "五月", "六月", "七月", "八月", "九月", "十月", "十一月", "十二月"],
    "when": ["{day}", "{day}{clock}", "{day}{period}", "现在", "刚才", "上个月", "去年", "明年春天"],
    "duration": ["{digit}分钟", "{small}分钟", "半个小时", "{digit}个小时", "两天", "{digit}个星期", "半年", "{digit}年"],
    "surname": list("王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗"),
    "title": ["先生", "女士", "老师", "经理", "医生", "师傅", "主任", "工程师", "律师", "教授"],
    "person": ["{surname}{title}", "我爸爸", "我妈妈", "他哥哥", "她姐姐", "我弟弟", "小妹妹", "奶奶", "爷爷", "我的朋友", "同事", "邻居"],
    "who": ["我", "你", "他", "她", "我们", "你们", "他们", "大家", "{person}", "{person}"],
    "city": [
        "北京", "上海", "广州", "深圳", "杭州", "南京", "成都", "重庆", "武汉", "西安", "天津", "苏州",
        "青岛", "厦门", "长沙", "昆明", "哈尔滨", "香港", "台北", "拉萨",
    ],
    "place": [
        "火车站", "飞机场", "地铁站", "公园", "图书馆", "超市", "医院", "学校", "银行", "饭店", "咖啡馆",
        "电影院", "博物馆", "体育馆", "办公室", "会议室", "停车场", "海边", "山上", "{city}",
    ],
    "room": ["客厅", "卧室", "厨房", "书房", "阳台", "浴室", "车库", "院子"],
    "device": ["灯", "空调", "电视", "窗帘", "音响", "热水器", "风扇", "洗衣机", "冰箱", "闹钟", "摄像头"],
    "switch": ["打开", "关上", "开一下", "关掉"],
    "vehicle": ["火车", "飞机", "地铁", "公共汽车", "出租车", "自行车", "轮船", "高铁"],
    "weather": ["晴天", "阴天", "下雨", "下大雪", "刮大风", "有雾", "多云", "打雷"],
    "feel": ["很热", "很冷", "非常舒服", "有点潮湿", "特别干燥", "越来越暖和"],
    "fruit": ["苹果", "香蕉", "西瓜", "葡萄", "桃子", "橙子", "草莓", "梨"],
    "dish": ["牛肉面", "饺子", "炒饭", "烤鸭", "豆腐汤", "红烧鱼", "蛋糕", "包子", "火锅", "鸡蛋"],
    "drink": ["绿茶", "咖啡", "牛奶", "果汁", "啤酒", "热水", "豆浆"],
    "taste": ["很好吃", "太咸了", "有点辣", "甜极了", "味道不错", "又酸又甜", "比较淡"],
    "clothes": ["衬衫", "外套", "裤子", "裙子", "皮鞋", "帽子", "毛衣", "手套"],
    "colour": ["红色", "蓝色", "白色", "黑色", "黄色", "灰色", "紫色", "绿色"],
    "thing": ["手机", "电脑", "钱包", "钥匙", "雨伞", "眼镜", "护照", "身份证", "行李", "词典", "报纸", "照片", "礼物"],
    "animal": ["小狗", "小猫", "兔子", "熊猫", "老虎", "大象", "猴子", "鸟", "金鱼", "蝴蝶", "马"],
    "sport": ["跑步", "游泳", "打篮球", "踢足球", "爬山", "滑雪", "打乒乓球", "练瑜伽", "骑车", "跳舞"],
    "music": ["一首老歌", "钢琴曲", "流行音乐", "京剧", "新闻", "有声小说", "儿童故事", "相声"],
    "body": ["头", "肚子", "牙", "嗓子", "背", "膝盖", "左手", "右脚", "眼睛"],
    "medicine": ["感冒药", "维生素", "止疼片", "眼药水"],
    "topic": ["新的项目计划", "产品价格", "市场调查", "安全问题", "年度预算", "服务质量", "技术方案", "客户意见", "合同条款"],
    "product": ["语音识别系统", "服务器", "数据库", "网络设备", "充电电池", "显示器", "打印机", "机器人", "芯片"],
    "state": ["运行正常", "反应太慢", "已经坏了", "需要升级", "没有声音", "连接失败", "温度过高", "正在更新"],
    "study": ["数学", "英语", "历史", "地理", "物理", "化学", "音乐", "美术", "汉语", "法律"],
    "adverb": ["已经", "马上", "可能", "一定", "终于", "常常", "仍然", "突然", "大概", "从来不"],
    "react": ["真的吗", "太好了", "没关系", "不客气", "当然可以", "对不起", "我不知道", "请稍等", "谢谢你", "好的", "再见", "你说得对",
              "没有问题", "别着急", "恭喜你", "辛苦了", "请进", "欢迎光临", "祝你生日快乐", "慢慢来"],
    "please": ["请", "麻烦你", "帮我", "能不能", "请帮忙", "我想", "我要", "可不可以"],
    "command": [
        "{please}{switch}{room}的{device}",
        "{please}把{room}的{device}{switch}",
        "把{device}调到{small}度",
        "{please}把音量调{volume}",
        "播放{music}",
        "下一首",
        "暂停",
        "继续播放",
        "{clock}叫我起床",
        "提醒我{when}去{place}",
        "给{person}打电话",
        "给{person}发一条短信",
        "导航到{place}",
        "{please}查一下{city}的天气",
        "打电话到{phone}",
        "定一个{duration}的闹钟",
        "计算{small}加{small}",
        "{small}乘以{small}等于多少",
    ],
    "volume": ["大一点", "小一点", "到最大", "到百分之{small}"],
    "weather_s": [
        "{when}{city}{weather}，{feel}",
        "{when}{weather}，气温{small}度",
        "{city}的{season}{feel}",
        "天气预报说{when}{weather}",
        "因为{weather}，航班推迟了{duration}",
        "外面{weather}，记得带雨伞",
    ],
    "season": ["春天", "夏天", "秋天", "冬天"],
    "travel_s": [
        "{who}{when}坐{vehicle}去{city}",
        "从{city}到{city}坐{vehicle}要{duration}",
        "{please}订一张{when}去{city}的{vehicle}票",
        "请问{place}怎么走",
        "{place}离这里有{number}米",
        "先往{side}走{number}米，然后向{side}拐",
        "{vehicle}票多少钱一张",
        "{place}{clock}开门，{clock}关门",
        "路上堵车，{who}会晚到{duration}",
        "{who}把{thing}忘在{vehicle}上了",
    ],
    "side": ["东", "西", "南", "北", "左", "右", "前"],
    "food_s": [
        "{who}想吃{dish}，喝{drink}",
        "这家饭店的{dish}{taste}",
        "服务员，来一份{dish}和两杯{drink}",
        "{fruit}{number}块钱一斤",
        "{who}买了{digit}斤{fruit}",
        "{who}不喜欢{dish}，因为{taste}",
        "{season}吃{fruit}最好",
        "这碗{dish}里盐放得太多了",
    ],
    "shop_s": [
        "这件{colour}的{clothes}多少钱",
        "{clothes}打{digit}折，一共{number}元",
        "有没有大一号的{colour}{clothes}",
        "{who}丢了一把{colour}的{thing2}",
        "{who}给{person}买了{thing}做生日礼物",
        "{please}用信用卡付款",
        "收据在{thing}旁边",
    ],
    "thing2": ["钥匙", "雨伞", "剪刀", "椅子"],
    "work_s": [
        "{when}{clock}在会议室讨论{topic}",
        "{who}正在准备{topic}的报告",
        "{product}{state}，{please}检查一下",
        "{person}说{product}{state}",
        "销售额比去年增长了{percent}",
        "{topic}{adverb}需要{who}签字",
        "会议改到{when}{clock}",
        "公司有{number}名员工",
        "这个月的成本下降了{percent}",
        "{please}把文件发到邮箱",
        "密码是{phone}",
        "订单号码是{phone}，请核对",
    ],
    "school_s": [
        "{who}{when}有{study}考试",
        "{who}的{study}得了{small}分",
        "{who}每天学习{duration}{study}",
        "图书馆里有{number}本书",
        "老师{adverb}讲完了第{small}课",
        "{study}比{study}难多了",
        "请把课本翻到第{number}页",
    ],
    "health_s": [
        "{who}的{body}疼了{duration}",
        "医生让{who}每天吃{digit}次{medicine}",
        "{who}{when}去医院检查{body}",
        "多喝热水，少吃油腻的东西",
        "{who}每天{sport}{duration}",
        "体温{small}度，有点发烧",
        "睡觉以前不要喝{drink}",
    ],
    "life_s": [
        "{who}{adverb}在{place}{sport}",
        "{who}喜欢{sport}，不喜欢{sport}",
        "动物园里有{digit}只{animal}",
        "{person}家的{animal}{adverb}跑了",
        "孩子们在{place}看{animal}",
        "{who}{when}在{place}等{who}",
        "{when}{clock}电影开始，别迟到",
        "{who}在{city}住了{duration}",
        "{who}今年{small}岁",
        "窗户外面有一只{colour}的{animal}",
        "{who}听{music}听了{duration}",
    ],
    "clause": [
        "{command}", "{command}", "{weather_s}", "{travel_s}", "{travel_s}", "{food_s}", "{shop_s}", "{work_s}",
        "{work_s}", "{school_s}", "{health_s}", "{life_s}",
    ],
    "link": ["，", "，", "，所以", "，但是", "，而且", "，然后", "。", "，不过", "，如果可以的话，"],
    "any_word": [
        "{thing}", "{place}", "{dish}", "{animal}", "{clothes}", "{colour}", "{study}", "{product}", "{topic}", "{sport}",
        "{fruit}", "{drink}", "{weekday}", "{body}", "{medicine}", "{device}", "{person}", "{vehicle}", "{number}",
        "{state}", "{adverb}", "{title}", "{room}", "{music}", "{city}", "{season}", "{feel}", "{taste}", "{react}",
    ],
    # Words in no order: without them the model would guess the next word rather than hear it.
    "salad": ["{any_word}，{any_word}", "{any_word}{any_word}，{any_word}", "{any_word}，{any_word}，{any_word}，{any_word}"],
    "long": ["{clause}{link}{clause}", "{clause}{link}{clause}{link}{clause}", "{clause}{link}{clause}{link}{clause}{link}{clause}"],
    "sentence": ["{react}", "{clause}", "{clause}", "{clause}", "{clause}", "{react}，{clause}", "{salad}", "{long}", "{long}"],
}  # fmt: skip

_SLOT = re.compile(r"\{(\w+)\}")
_SILENT = re.compile(r"[，。？！]")


def sentence(generator: random.Random) -> str:
    """One sentence with its punctuation."""
    text = "{sentence}"
    while slot := _SLOT.search(text):
        text = text[: slot.start()] + generator.choice(RULES[slot.group(1)]) + text[slot.end() :]
    return text


def spoken(text: str) -> str:
    """The characters that are heard: without punctuation."""
    return _SILENT.sub("", text)


def characters() -> list[str]:
    """Every character that a sentence may hold, sorted."""
    return sorted(
        {letter for options in RULES.values() for option in options for letter in spoken(_SLOT.sub("", option))}
    )
